"""What operators set besides the value, and what topics hold: at worst it costs its own record."""

from __future__ import annotations

from collections import UserString
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pytest

from kafka_etl import DROP, Record
from kafka_etl.envelope import Provenance, encode_raw
from kafka_etl.invocation import Condition, DeadLetter, Headers
from kafka_etl.record import SourceRecord, UnreadableHeaders, headers_of
from kafka_etl.testing import StoredRecord
from tests.unit.engine.kit import Ran, chain_of, run


def source(value: bytes, offset: int = 0, headers: Headers | None = None) -> StoredRecord:
    return StoredRecord(value, b"k", headers, offset=offset, timestamp_ms=1000 + offset)


def only_the_guilty(ran: Ran, condition: Condition = Condition.ENCODE_ERROR) -> str:
    """Of the values 1, 2 and 3, the record of 2 failed and the others did not."""
    assert ran.values == [1, 3]
    assert ran.conditions == {1: condition}
    return ran.failed[1]


class Shouting(str):
    """Text whose own methods cannot be relied on."""

    __slots__ = ()

    def encode(self, *_args: Any) -> bytes:  # type: ignore[override]
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


ODD_HEADERS: list[Any] = [
    5,
    "text",
    b"bytes",
    {"a": b"b"},
    [None],
    [5],
    [("a",)],
    [("a", b"b", b"c")],
    [("a", "text")],
    [(b"a", b"b")],
    [("\ud800", b"b")],
    [("a\0b", b"b")],
    [(UserString("a"), b"b")],
    [DROP],
    (header for header in [("a", b"b")]),
]


@pytest.mark.parametrize("odd", ODD_HEADERS, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("schema_ids", [False, True])
def test_headers_that_no_sink_can_write_cost_their_record(odd: Any, schema_ids: bool) -> None:
    def op(record: Record) -> Record:
        return record.replace(headers=odd) if record.value == 2 else record

    ran = run(chain_of(op, schema_ids=schema_ids), source(b"1"), source(b"2", 1), source(b"3", 2))
    only_the_guilty(ran)
    assert ran.failure().operator == "op"


def test_something_appended_to_headers_costs_its_record() -> None:
    def op(record: Record) -> Record:
        if record.value == 2:
            record.headers.append(None)  # type: ignore[arg-type]
        return record

    only_the_guilty(run(chain_of(op, schema_ids=True), 1, 2, 3))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ((("a", b"b"),), [("a", b"b")]),
        ([["a", b"b"]], [("a", b"b")]),
        ([("é", None)], [("é", None)]),
        ([(Shouting("a"), b"b")], [("a", b"b")]),
        (None, None),
        ([], None),
    ],
)
def test_headers_are_written_as_lists_of_pairs(given: Any, written: Any) -> None:
    """The client takes no other sequences."""
    ran = run(setting_headers(given), 1)
    headers = ran.outputs.headers and ran.outputs.headers[0]
    assert (headers or None) == written
    for name, _ in headers or ():
        assert type(name) is str


def setting_headers(headers: Any) -> Any:
    def op(record: Record) -> Record:
        return record.replace(headers=headers)

    return op


@pytest.mark.parametrize(
    "odd",
    [["a", "b"], {}, 5, b"out", "\ud800", object(), lambda: 1],
    ids=lambda odd: type(odd).__name__,
)
def test_a_topic_that_is_none_costs_its_record(odd: Any) -> None:
    def op(record: Record) -> Record:
        return record.to(odd) if record.value == 2 else record

    ran = run(chain_of(op, routes=frozenset({"other"})), 1, 2, 3)
    assert "not the sink's topic" in only_the_guilty(ran, Condition.OPERATOR_ERROR)
    assert ran.failure().operator == "op"


def test_a_topic_may_be_a_member_of_an_enum() -> None:
    class Topic(StrEnum):
        OTHER = "other"

    def op(record: Record) -> Record:
        return record.to(Topic.OTHER)

    ran = run(chain_of(op, routes=frozenset({"other"})), 1)
    assert ran.outputs.topics == ["other"]
    assert type((ran.outputs.topics or [None])[0]) is str


ODD_TIMESTAMPS: list[Any] = [0, -5, 2**63, -(2**80), 10**5000, True, 1.5, "1", None, [1]]


@pytest.mark.parametrize("odd", ODD_TIMESTAMPS, ids=range(len(ODD_TIMESTAMPS)))
def test_a_timestamp_that_cannot_be_written_costs_its_record(odd: Any) -> None:
    def op(record: Record) -> Record:
        return record.replace(timestamp=odd) if record.value == 2 else record

    ran = run(op, 1, 2, 3)
    assert "timestamp" in only_the_guilty(ran)
    assert ran.failure().operator == "op"


@pytest.mark.parametrize(("given", "written"), [(1, 1), (2**63 - 1, 2**63 - 1), (-1, 0)])
def test_a_timestamp_is_exact(given: int, written: int) -> None:
    def op(record: Record) -> Record:
        return record.replace(timestamp=given)

    assert run(op, 1).outputs.timestamps == [written]


@pytest.mark.parametrize("stamp", [0, -5])
def test_a_source_timestamp_that_the_client_would_change_costs_its_record(stamp: int) -> None:
    old = StoredRecord(b"2", b"k", offset=1, timestamp_ms=stamp)
    ran = run(chain_of(source_timestamp=True), source(b"1"), old, source(b"3", 2))
    assert f"timestamp {stamp} cannot be written" in only_the_guilty(ran)
    assert ran.outputs.timestamps == [1000, 1002]


def test_one_that_an_operator_has_set_is_written_all_the_same() -> None:
    def op(record: Record) -> Record:
        return record.replace(timestamp=7)

    old = StoredRecord(b"2", b"k", timestamp_ms=0)
    assert run(chain_of(op, source_timestamp=True), old).outputs.timestamps == [7]


def test_a_record_without_a_timestamp_has_the_sinks_own() -> None:
    ran = run(chain_of(source_timestamp=True), StoredRecord(b"1", b"k"))
    assert ran.outputs.timestamps == [0]


# Tables


def odd_column(name: str, odd: Any) -> Any:
    def op(table: pa.Table) -> pa.Table:
        values = [odd if value == 2 else None for value in table["n"].to_pylist()]
        others = table.drop_columns([name]) if name in table.column_names else table
        return others.append_column(name, [values])

    return op


def test_two_columns_of_one_name_are_told_by_the_operator_that_made_them() -> None:
    def op(table: pa.Table) -> pa.Table:
        return table.append_column("_key", table["_key"])

    ran = run(op, {"n": 1})
    assert ran.failed == {0: "ValueError: returned several columns `_key`"}
    assert ran.failure().operator == "op"


@pytest.mark.parametrize(
    "odd",
    [5, [5], [{"other": 1}], {"name": "a"}, "text"],
    ids=lambda odd: type(odd).__name__,
)
def test_a_column_of_headers_of_another_shape_costs_its_rows(odd: Any) -> None:
    ran = run(
        chain_of(odd_column("_headers", odd), by_dict),
        *[{"n": 1}, {"n": 2}, {"n": 3}],
    )
    assert [value["n"] for value in ran.values] == [1, 3]
    assert set(ran.failed) == {1}


def by_dict(value: dict) -> dict:
    return value


def test_a_column_of_topics_that_are_none_costs_its_rows() -> None:
    ran = run(chain_of(odd_column("_to", ["a", "b"])), {"n": 1}, {"n": 2})
    assert ran.conditions == {1: Condition.OPERATOR_ERROR}
    assert ran.failure().operator == "op"


@pytest.mark.parametrize(
    "odd",
    [{"key": 5}, {"headers": 5}, {"headers": [(1, 2)]}, {"timestamp": "now"}],
    ids=lambda odd: type(odd).__name__,
)
def test_what_no_column_can_hold_costs_its_record_before_an_operator_on_tables(odd: Any) -> None:
    def before(record: Record) -> Record:
        return record.replace(**odd) if record.value["n"] == 2 else record

    def op(table: pa.Table) -> pa.Table:
        return table

    ran = run(chain_of(before, op), {"n": 1}, {"n": 2}, {"n": 3})
    assert [value["n"] for value in ran.values] == [1, 3]
    assert ran.conditions == {1: Condition.OPERATOR_ERROR}
    assert ran.failure().operator == "before"


# What the topic alone can hold


class AsTheClientHasIt(StoredRecord):
    """Where a name is no UTF-8, the client finds that once, and has a list with a hole then."""

    __slots__ = ("_asked", "_set", "hollow")

    def headers(self) -> Any:
        if not getattr(self, "hollow", False):
            return super().headers()
        if hasattr(self, "_set"):
            return self._set
        assert not hasattr(self, "_asked"), "to touch the hole would end the process"
        self._asked = True
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    def set_headers(self, headers: Any) -> None:
        self._set = headers


def hollow(value: bytes) -> AsTheClientHasIt:
    record = AsTheClientHasIt(value, b"k", offset=1)
    record.hollow = True
    return record


def whole(value: bytes, offset: int = 0) -> AsTheClientHasIt:
    return AsTheClientHasIt(value, b"k", [("a", b"b")], offset=offset)


def by_value(value: int) -> int:
    return value


def by_record(record: Record) -> Record:
    return record


def by_batch(values: list[int]) -> list[int]:
    if 2 in values:
        raise ValueError
    return values


def by_table(table: pa.Table) -> pa.Table:
    return table


@pytest.mark.parametrize("operator", [by_value, by_record, by_batch, None])
def test_headers_that_cannot_be_read_cost_their_record(operator: Any) -> None:
    chain = chain_of(*([operator] if operator else []))
    ran = run(chain, whole(b"1"), hollow(b"4"), whole(b"3", 2))
    assert ran.values == [1, 3]
    assert ran.conditions == {1: Condition.DECODE_ERROR}
    assert "headers cannot be read" in ran.failed[1]
    assert "UnicodeDecodeError" in ran.failed[1]
    assert (ran.outputs.headers or [])[1] == [("a", b"b")]


def test_they_do_with_an_operator_on_tables() -> None:
    ran = run(by_table, whole(b'{"n":1}'), hollow(b'{"n":2}'), whole(b'{"n":3}', 2))
    assert ran.values == [{"n": 1}, {"n": 3}]
    assert ran.conditions == {1: Condition.DECODE_ERROR}


def test_they_are_known_when_the_record_is_tried_again() -> None:
    """With neighbours that fail the whole attempt, the record is run more than once."""
    ran = run(by_batch, whole(b"1"), hollow(b"4"), whole(b"2", 2), whole(b"3", 3))
    assert ran.values == [1, 3]
    assert ran.conditions == {1: Condition.DECODE_ERROR, 2: Condition.OPERATOR_ERROR}


def test_a_dead_letter_says_that_headers_could_not_be_read() -> None:
    about = Provenance("p", "h", "g", "w", "host", 1, "0", "3", {})
    for record in (hollow(b"4"), known_to_be_hollow()):
        ran = run(by_value, record)
        encoded = encode_raw(DeadLetter(record, ran.failure(), "id", 1), about, 10**6)
        assert encoded.value == b"4"
        assert (
            b'"headers_unreadable":"UnicodeDecodeError'
            in dict(encoded.headers)["kafka_etl.context"]
        )


def known_to_be_hollow() -> AsTheClientHasIt:
    record = hollow(b"4")
    assert isinstance(headers_of(record), UnreadableHeaders)
    return record


def test_headers_of_any_other_record_are_read() -> None:
    assert headers_of(source(b"", 0, [("a", b"b")])) == [("a", b"b")]
    assert headers_of(source(b"")) == []


@pytest.mark.parametrize("operator", [by_value, by_record, None])
def test_a_record_may_be_empty_in_every_part(operator: Any) -> None:
    empty: list[SourceRecord] = [
        StoredRecord(None, None, None),
        StoredRecord(None, b"", [("", b""), ("", None)], offset=1),
        StoredRecord(b"", b"", [], offset=2, timestamp_ms=0),
        StoredRecord(b"1", None, None, offset=3, timestamp_ms=-(2**63)),
    ]
    ran = run(chain_of(*([operator] if operator else []), converts=True), *empty)
    assert ran.conditions == {2: Condition.DECODE_ERROR}
    assert ran.values == [None, None, 1]
    assert ran.outputs.keys == [None, b"", None]
    assert (ran.outputs.headers or [])[1] == [("", b""), ("", None)]
