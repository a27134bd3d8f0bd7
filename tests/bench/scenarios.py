"""What is measured: the records, the pipeline, and the loop beside it."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import fastavro
import orjson

from tests.bench.loops import AVRO, WIDE

Made = tuple[bytes, bytes, list[tuple[str, bytes]] | None]
"""Key, value, headers."""

_PAD = "x" * 56
_CURRENCIES = ("EUR", "USD", "GBP")


def order(number: int, amount: float | None = None) -> bytes:
    """About 128 bytes of JSON."""
    return orjson.dumps(
        {
            "id": number,
            "amount": float(number % 100) if amount is None else amount,
            "currency": _CURRENCIES[number % 3],
            "pad": _PAD,
        }
    )


def key(number: int) -> bytes:
    return b"customer-%d" % (number % 5000)


def plain(number: int) -> Made:
    return key(number), order(number), None


def with_headers(number: int) -> Made:
    return key(number), order(number), [("a", b"1"), ("trace", b"0" * 32), ("source", b"shop")]


def one_in_a_hundred_bad(number: int) -> Made:
    if number % 200 == 7:
        return key(number), b'{"id": %d, "amount": ' % number, None
    if number % 200 == 107:
        return key(number), order(number, -1.0), None
    return plain(number)


def large(number: int) -> Made:
    return key(number), b'{"id":%d,"pad":"%s"}' % (number, b"x" * 100_000), None


def in_avro(schema: dict[str, Any], head: bytes) -> Callable[[int], Made]:
    """Records in Confluent's wire format, with every field but `total`."""
    parsed = fastavro.parse_schema(schema)

    def make(number: int) -> Made:
        fields: dict[str, Any] = {**orjson.loads(order(number)), "total": None}
        for n in range(5):
            fields |= {f"number_{n}": number + n, f"share_{n}": number / (n + 1)}
            fields[f"text_{n}"] = f"text of {n}" if (number + n) % 3 else None
        out = io.BytesIO(head)
        out.seek(len(head))
        names = {field["name"] for field in schema["fields"]}
        fastavro.schemaless_writer(out, parsed, {k: v for k, v in fields.items() if k in names})
        return key(number), out.getvalue(), None

    return make


def number_in_avro(schema: dict[str, Any]) -> Callable[[bytes], int]:
    parsed = fastavro.parse_schema(schema)
    return lambda value: int(fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None)["id"])


def number_in_json(value: bytes) -> int:
    return int(orjson.loads(value)["id"])


HEADS = {"avro": b"\0\0\0\0\1", "avro_wide": b"\0\0\0\0\2"}
"""A zero, and the id the registry of a run gives each schema."""
ADD_A_FIELD = """
    def op(order: dict) -> dict:
        order["total"] = order["amount"] * 1.2
        return order
"""

ONE_EXPRESSION = """
    import polars as pl

    def op(orders: pl.DataFrame) -> pl.DataFrame:
        return orders.with_columns(total=pl.col("amount") * 1.2)
"""
TWENTY_EXPRESSIONS = """
    import polars as pl

    number, amount, currency = pl.col("id"), pl.col("amount"), pl.col("currency")
    total = amount * 1.2
    EXPRESSIONS = {
        "total": total,
        "tax": total - amount,
        "cents": (amount * 100).cast(pl.Int64),
        "half": amount / 2,
        "square": amount * amount,
        "rounded": amount // 10 * 10,
        "rest": amount % 10,
        "shifted": amount - 50,
        "capped": amount.clip(upper_bound=75.0),
        "at_least": amount.clip(lower_bound=25.0),
        "large": amount > 75,
        "small": amount <= 10,
        "between": (amount >= 25) & (amount < 75),
        "euro": currency == "EUR",
        "known": currency.is_in(["EUR", "USD"]),
        "lower": currency.str.to_lowercase(),
        "label": currency + "-order",
        "letters": pl.col("pad").str.len_chars(),
        "even": number % 2 == 0,
        "bucket": number % 16,
    }

    def op(orders: pl.DataFrame) -> pl.DataFrame:
        return orders.with_columns(**EXPRESSIONS)
"""


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    Attributes:
        about: What happens to a record.
        loop: Name in `loops.py`.
        cpu: CPU of ours over the loop's that we want to stay below.
        others: Loops to run beside it, for the curious.
        records: How many, in the full form.
        make: Record number -> the record.
        number: The value of an output -> the record's number.
        kept: Whether record number has an output; the others are dropped or dead letters.
        size: Records the loop takes at once.
        schema: Of Avro values, on both sides.
    """

    name: str
    about: str
    loop: str
    cpu: float
    others: tuple[str, ...] = ()
    records: int = 500_000
    make: Callable[[int], Made] = plain
    number: Callable[[bytes], int] = number_in_json
    code: str = ADD_A_FIELD
    operators: tuple[Any, ...] = ("ops:op",)
    source: dict[str, Any] = field(default_factory=lambda: {"value": "json"})
    kept: Callable[[int], bool] = lambda _number: True
    sinks: int = 1
    dead_letters: bool = False
    size: int = 10_000
    schema: dict[str, Any] | None = None

    def pipeline(
        self, name: str, bootstrap: str, source: str, sinks: list[str], **more: Any
    ) -> dict[str, Any]:
        """The pipeline file's content; `sinks` as the loop is given them."""
        spec: dict[str, Any] = {
            "name": name,
            "kafka": {"bootstrap.servers": bootstrap},
            "source": {"use": "kafka", "with": {"topics": [source], **self.source}},
            "operators": list(self.operators),
            "sink": {"use": "kafka", "with": {"topic": sinks[0]}},
            **more,
        }
        if self.schema is not None:
            written = {"use": "avro", "with": {"schema": self.schema, "register": True}}
            spec["sink"]["with"]["value"] = written
        if self.dead_letters:
            spec["dead_letter"] = {"topic": sinks[1]}
        elif len(sinks) > 1:
            spec["sink"]["with"]["routes"] = sinks[1:]
        return spec

    def module(self) -> str:
        return textwrap.dedent(self.code)

    def outputs(self, records: int) -> int:
        """How many are kept of so many."""
        return sum(map(self.kept, range(records)))


SCENARIOS = [
    Scenario(
        "json", "decode, one operator, encode", "json", cpu=1.10, others=("untuned-json", "typed")
    ),
    Scenario(
        "chain",
        "filter, two operators, two topics",
        "chain",
        cpu=1.10,
        code="""
            from kafka_etl import Record

            def total(order: dict) -> dict:
                order["total"] = order["amount"] * 1.2
                return order

            def judge(order: dict):
                order["large"] = order["amount"] > 75
                if order["currency"] == "EUR":
                    return Record(order).to("OTHER")
                return order
        """,
        operators=(
            {"use": "filter", "with": {"where": "value.amount >= 50"}},
            "ops:total",
            "ops:judge",
        ),
        kept=lambda number: number % 100 >= 50,
        sinks=2,
    ),
    Scenario(
        "raw",
        "bytes through",
        "raw",
        cpu=1.10,
        operators=(),
        source={"value": "bytes"},
    ),
    Scenario(
        "record",
        "an operator adds a header",
        "record",
        cpu=1.20,
        code="""
            from kafka_etl import Record

            def op(record: Record) -> Record:
                return record.replace(headers=[*record.headers, ("seen", b"1")])
        """,
    ),
    Scenario("headers", "three headers travel on", "headers", cpu=1.20, make=with_headers),
    Scenario(
        "batch",
        "a whole batch of msgspec Structs; the loop as in `json`",
        "json",
        cpu=0.95,
        code="""
            import msgspec

            class Order(msgspec.Struct):
                id: int
                amount: float
                currency: str
                pad: str
                total: float | None = None

            def op(orders: list[Order]) -> list[Order]:
                for order in orders:
                    order.total = order.amount * 1.2
                return orders
        """,
    ),
    Scenario(
        "bad-1%",
        "broken JSON and raising records become dead letters",
        "bad",
        cpu=1.30,
        make=one_in_a_hundred_bad,
        code="""
            from kafka_etl import Permanent

            def op(order: dict) -> dict:
                if order["amount"] < 0:
                    raise Permanent("negative amount")
                order["total"] = order["amount"] * 1.2
                return order
        """,
        kept=lambda number: number % 100 != 7,
        sinks=2,
        dead_letters=True,
    ),
    Scenario(
        "large",
        "100 KB through",
        "raw",
        cpu=1.20,
        records=10_000,
        make=large,
        operators=(),
        source={"value": "bytes"},
        size=100,
    ),
    Scenario(
        "columnar-json",
        "twenty expressions over columns; the loop has them in plain Python",
        "columnar_json",
        cpu=0.50,
        code=TWENTY_EXPRESSIONS,
    ),
    Scenario(
        "columnar-json-one",
        "one cheap field over columns; the loop as in `json`",
        "json",
        cpu=1.00,
        code=ONE_EXPRESSION,
    ),
    Scenario(
        "avro",
        "five fields in Avro, one operator on values",
        "avro",
        cpu=1.10,
        records=300_000,
        make=in_avro(AVRO, HEADS["avro"]),
        number=number_in_avro(AVRO),
        source={"value": "avro"},
        schema=AVRO,
    ),
    Scenario(
        "avro-wide",
        "twenty fields in Avro, one operator on values",
        "avro_wide",
        cpu=1.10,
        records=200_000,
        make=in_avro(WIDE, HEADS["avro_wide"]),
        number=number_in_avro(WIDE),
        source={"value": "avro"},
        schema=WIDE,
    ),
    Scenario(
        "columnar-avro-five",
        "five fields in Avro, one operator on columns; the loop as in `avro`",
        "avro",
        cpu=0.40,
        make=in_avro(AVRO, HEADS["avro"]),
        number=number_in_avro(AVRO),
        source={"value": "avro"},
        schema=AVRO,
        code=ONE_EXPRESSION,
    ),
    Scenario(
        "columnar-avro",
        "twenty fields in Avro, one operator on columns; the loop as in `avro-wide`",
        "avro_wide",
        cpu=0.20,
        make=in_avro(WIDE, HEADS["avro_wide"]),
        number=number_in_avro(WIDE),
        source={"value": "avro"},
        schema=WIDE,
        code=ONE_EXPRESSION,
    ),
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
