"""Nothing that an operator can return leaves the rules: it costs its own record at most.

Odd objects are put into every part of a `Record`, every shape of return and every column of a
table; of the records around them the outputs are as ever.
"""

from __future__ import annotations

import array
import datetime as dt
import decimal
import enum
import uuid
from collections import UserDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_etl import DROP, Record, operator
from kafka_etl.codecs import TEXT
from kafka_etl.engine.rows.flow import NULL
from kafka_etl.engine.rows.mapping import FAILED
from kafka_etl.record import KEEP
from kafka_etl.testing import StoredRecord
from tests.unit.engine.kit import Ran, chain_of, json, run

COUNT = 5


class Hostile:
    """Raises whatever is done with it."""

    def _refuse(self, *_args: Any) -> Any:
        raise SystemExit("hostile")

    __eq__ = __ne__ = __hash__ = __bool__ = __iter__ = __len__ = __str__ = __repr__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __index__ = __bytes__ = __getitem__ = _refuse
    __class__ = property(_refuse)  # type: ignore[assignment]


class HostileText(str):
    __slots__ = ()

    def _refuse(self, *_args: Any) -> Any:
        raise RuntimeError("hostile")

    __eq__ = __ne__ = __len__ = __str__ = __repr__ = encode = _refuse
    __hash__ = str.__hash__


class HostileList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise KeyboardInterrupt


class HostileNumber(int):
    def _refuse(self, *_args: Any) -> Any:
        raise RuntimeError("hostile")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __int__ = _refuse
    __hash__ = int.__hash__


class HostileBytes(bytes):
    def __bytes__(self) -> bytes:
        raise GeneratorExit

    def __len__(self) -> int:
        raise GeneratorExit


def unhashable() -> object:
    """An object of a class that cannot be looked up; made here, as pytest looks at a module's."""

    class Meta(type):
        def __hash__(cls) -> int:
            raise RuntimeError

    return Meta("Unhashable", (), {})()


@dataclass
class Unresolved:
    """A class whose annotations name what is not there."""

    field: NotThere = None  # type: ignore[name-defined]  # noqa: F821


class Colour(enum.Enum):
    RED = "red"


def forever() -> Iterator[int]:
    yield 1
    raise ValueError("in the middle")


def circle() -> list[Any]:
    held: list[Any] = []
    held.append(held)
    return held


def deep() -> list[Any]:
    held: list[Any] = []
    for _ in range(100_000):
        held = [held]
    return held


ODD: list[Callable[[], Any]] = [
    Hostile,
    lambda: HostileText("out"),
    lambda: HostileList([1]),
    lambda: HostileNumber(7),
    lambda: HostileBytes(b"b"),
    unhashable,
    Unresolved,
    lambda: Unresolved,
    circle,
    deep,
    forever,
    object,
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 2**63,
    lambda: -(2**200),
    lambda: 10**5000,
    lambda: 1.5,
    lambda: float("nan"),
    lambda: 1j,
    lambda: "",
    lambda: "out",
    lambda: "\ud800",
    lambda: "a\0b",
    lambda: b"",
    lambda: b"\xff",
    lambda: bytearray(b"b"),
    lambda: memoryview(b"b"),
    list,
    lambda: [[]],
    lambda: [None],
    lambda: [DROP],
    lambda: [1, None],
    tuple,
    dict,
    lambda: {1: 2},
    lambda: {"a": {1}},
    lambda: UserDict(a=1),
    set,
    lambda: deque([1]),
    lambda: array.array("i", [1]),
    lambda: np.array([1, 2]),
    lambda: np.int64(7),
    lambda: decimal.Decimal("NaN"),
    lambda: dt.datetime.max.replace(tzinfo=dt.UTC),
    lambda: uuid.UUID(int=1),
    lambda: Colour.RED,
    lambda: lambda: 1,
    lambda: DROP,
    lambda: KEEP,
    lambda: NULL,
    lambda: FAILED,
    lambda: ValueError("returned"),
    lambda: [("a", b"b")],
    lambda: [("a", "b")],
    lambda: [("\udfff", b"b")],
    lambda: (("a", b"b"),),
    lambda: [Hostile()],
    lambda: [(Hostile(), b"b")],
    lambda: [("a", Hostile())],
    lambda: Record(1),
    lambda: Record(Record(1)),
    lambda: [Record(None), Record(5, key=5)],
    lambda: StoredRecord(b"1"),
    lambda: pa.table({"a": [1]}),
]
odd = st.sampled_from(ODD)  # made in the test: to show one may raise
PARTS = (
    "value",
    "key",
    "headers",
    "timestamp",
    "destination",
    "source",
    "stamped",
    "emptied",
)
parts = st.sampled_from(PARTS)
afters = st.sampled_from(["nothing", "value", "record", "records", "table", "generator"])


def follower(after: str) -> list[Any]:
    """An operator that comes behind, and leaves all as it is."""

    def value(value: Any) -> Any:
        return value

    def record(record: Record) -> Record:
        return record

    def records(records: list[Record]) -> list[Record]:
        return records

    def table(table: pa.Table) -> pa.Table:
        return table

    def generator(value: Any) -> Iterator[Any]:
        yield value

    known = {
        "value": value,
        "record": record,
        "records": records,
        "table": table,
        "generator": generator,
    }
    return [known[after]] if after in known else []


def ran(*operators: Any, **how: Any) -> Ran:
    records = [
        StoredRecord(b'{"n":%d}' % n, b"%d" % n, [("h", b"%d" % n)], offset=n, timestamp_ms=1 + n)
        for n in range(COUNT)
    ]
    return run(chain_of(*operators, routes=frozenset({"other"}), **how), *records)


def only_itself(done: Ran, guilty: int) -> None:
    """Each record is in the outputs, dropped or failed once; the others are as ever."""
    assert set(done.failed) <= {guilty}
    assert len(done.outcome.failed) == len(done.failed)
    origins = done.origins
    for number in range(COUNT):
        if number != guilty:
            assert origins.count(number) == 1
            at = origins.index(number)
            fields = orjson.loads(done.outputs.values[at] or b"")
            # In columns a record also has the fields of others, as nulls.
            assert {name: v for name, v in fields.items() if v is not None} == {"n": number}
            assert done.outputs.keys[at] == b"%d" % number
            assert done.outputs.headers is not None
            assert done.outputs.headers[at] == [("h", b"%d" % number)]
    made, failed = origins.count(guilty), guilty in done.failed
    assert not (made and failed)
    assert made or failed or done.outcome.dropped == 1
    written(done)


def written(done: Ran) -> None:
    """The outputs are of the very types that the client takes."""
    outputs = done.outputs
    for value in (*outputs.values, *outputs.keys):
        assert value is None or isinstance(value, bytes)
    for headers in outputs.headers or ():
        assert headers is None or type(headers) is list
        for name, held in headers or ():
            assert type(name) is str
            assert name.encode()
            assert "\0" not in name
            assert held is None or type(held) is bytes
    for stamp in outputs.timestamps or ():
        assert type(stamp) is int
        assert 0 <= stamp < 2**63
    for topic in outputs.topics or ():
        assert topic is None or topic in {"out", "other"}


@given(odd, st.integers(0, COUNT - 1), afters, st.booleans())
@settings(deadline=None)
def test_any_return_costs_its_record(
    make: Callable[[], Any], guilty: int, after: str, typed: bool
) -> None:
    thing = make()

    def op(value: dict) -> Any:
        return thing if value["n"] == guilty else value

    def dropping(value: dict) -> dict | None:
        return thing if value["n"] == guilty else value  # type: ignore[no-any-return]

    only_itself(ran(dropping if typed else op, *follower(after)), guilty)


@given(odd, parts, st.integers(0, COUNT - 1), afters, st.booleans(), st.booleans())
@settings(deadline=None)
def test_any_part_of_a_record_costs_its_record(  # noqa: PLR0917
    make: Callable[[], Any], part: str, guilty: int, after: str, own: bool, schema_ids: bool
) -> None:
    thing = make()

    def op(record: Record) -> Any:
        if record.value["n"] != guilty:
            return record
        made = Record(record.value) if own else record
        setattr(made, part, thing)
        return made

    only_itself(ran(op, *follower(after), schema_ids=schema_ids), guilty)


@given(odd, parts, st.integers(0, COUNT - 1))
@settings(deadline=None)
def test_so_it_does_with_decoded_keys(make: Callable[[], Any], part: str, guilty: int) -> None:
    thing = make()

    def op(record: Record) -> Any:
        if record.value["n"] == guilty:
            setattr(record, part, thing)
        return record

    only_itself(ran(op, key=TEXT), guilty)


@given(odd, parts, st.integers(0, COUNT - 1), afters)
@settings(deadline=None)
def test_so_it_does_in_a_batch(make: Callable[[], Any], part: str, guilty: int, after: str) -> None:
    thing = make()

    def op(records: list[Record]) -> list[Any]:
        for record in records:
            if record.value["n"] == guilty:
                setattr(record, part, thing)
        return records

    only_itself(ran(op, *follower(after)), guilty)


@given(odd, st.integers(0, COUNT - 1), afters)
@settings(deadline=None)
def test_so_do_items_of_a_batch(make: Callable[[], Any], guilty: int, after: str) -> None:
    thing = make()

    def op(values: list[dict]) -> list[Any]:
        return [thing if value["n"] == guilty else value for value in values]

    only_itself(ran(op, *follower(after)), guilty)


@given(odd, st.booleans())
@settings(deadline=None)
def test_anything_for_a_whole_batch_or_table_is_an_output_or_a_failure_of_each(
    make: Callable[[], Any], table: bool
) -> None:
    thing = make()

    def by_batch(_values: list[dict]) -> Any:
        return thing

    def by_table(_table: pa.Table) -> Any:
        return thing

    done = ran(by_table if table else by_batch)
    assert set(done.failed) <= set(range(COUNT))
    assert set(done.failed).isdisjoint(done.origins)
    written(done)


@given(odd, parts)
@settings(deadline=None)
def test_so_does_an_operator_that_mixes(make: Callable[[], Any], part: str) -> None:
    thing = make()

    @operator(mixes=True)
    def op(records: list[Record]) -> list[Record]:
        setattr(records[0], part, thing)
        return records

    done = ran(op)
    assert len(done.failed) in {0, COUNT}
    assert not done.failed or not len(done.outputs)
    written(done)


COLUMNS: list[Callable[[int], Any]] = [
    lambda n: pa.array([5] * n),
    lambda n: pa.array([None] * n),
    lambda n: pa.array([1.5] * n),
    lambda n: pa.array(["out"] * n),
    lambda n: pa.array([b"\xff"] * n),
    lambda n: pa.array([[]] * n),
    lambda n: pa.array([["a", "b"]] * n),
    lambda n: pa.array([{"name": "a"}] * n),
    lambda n: pa.array([[{"name": "a", "value": b"b"}]] * n),
    lambda n: pa.array([[{"name": None, "value": b"b"}]] * n),
    lambda n: pa.array([[{"name": 5, "value": 5}]] * n),
    lambda n: pa.array([[("a", b"b")]] * n, pa.map_(pa.string(), pa.binary())),
    lambda n: pa.array([2**62] * n, pa.timestamp("s")),
    lambda n: pa.array([dt.datetime(2020, 1, 1)] * n),  # noqa: DTZ001 - as columns have it
    lambda n: pa.array([-1] * n),
    lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
    lambda n: pa.array([decimal.Decimal("1.5")] * n),
    pa.nulls,
    lambda n: pa.array(["a"] * n).dictionary_encode(),
]
names = st.sampled_from(["_row", "_key", "_headers", "_timestamp", "_to", "_partition", "_offset"])


@given(names, st.sampled_from(COLUMNS), afters, st.booleans(), st.booleans())
@settings(deadline=None)
def test_any_column_of_a_table_is_an_output_or_a_failure(
    name: str, make: Callable[[int], Any], after: str, twice: bool, mixes: bool
) -> None:
    def op(table: pa.Table) -> pa.Table:
        column = make(table.num_rows)
        held = name in table.column_names
        others = table.drop_columns([name]) if held and not twice else table
        return others.append_column(name, column)

    done = ran(operator(mixes=True)(op) if mixes else op, *follower(after))
    assert set(done.failed) <= set(range(COUNT))
    assert set(done.failed).isdisjoint(done.origins)
    assert len(done.failed) in {0, COUNT}
    written(done)


heads = st.one_of(
    st.none(),
    st.lists(st.tuples(st.text(max_size=3), st.one_of(st.none(), st.binary(max_size=3)))),
)
held = st.one_of(
    st.none(), st.binary(max_size=5), st.sampled_from([b"{}", b"null", b"[1]", b'"a"'])
)
times = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
topics = st.lists(st.tuples(held, held, heads, times), min_size=1, max_size=8)


@given(topics, afters, st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None)
def test_whatever_a_topic_holds_is_an_output_or_a_failure(
    held: list[Any], after: str, converts: bool, keys: bool, stamps: bool
) -> None:
    records = [
        StoredRecord(value, key, headers, offset=offset, timestamp_ms=stamp)
        for offset, (value, key, headers, stamp) in enumerate(held)
    ]
    chain = chain_of(
        *follower(after),
        key=json(),
        converts=converts,
        converts_keys=keys,
        source_timestamp=stamps,
        schema_ids=True,
    )
    done = run(chain, *records)
    counts = [done.origins.count(n) + (n in done.failed) for n in range(len(held))]
    assert [min(count, 1) for count in counts] == [1] * len(held)
    assert set(done.failed).isdisjoint(done.origins)
