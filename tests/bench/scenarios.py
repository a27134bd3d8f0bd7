"""What is measured: the records, the pipeline, and the loop beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

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


def number_in_json(value: bytes) -> int:
    return int(orjson.loads(value)["id"])


ADD_A_FIELD = """
    def op(order: dict) -> dict:
        order["total"] = order["amount"] * 1.2
        return order
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
]
# To come with their codecs: `avro`, `columnar-json` and `columnar-avro`. `make` writes and `number`
# reads their values; the loops `avro` and `columnar_json` are there.
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
