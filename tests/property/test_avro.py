"""Both ways between Avro and Arrow give the same, for any schema the fast one is offered."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from io import BytesIO
from typing import Any

import pyarrow as pa
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kafka_etl.codecs.avro.arrow_types import schema_of
from kafka_etl.codecs.avro.backends import fast_way, slow_way
from kafka_etl.codecs.avro.columns import table_codec
from kafka_etl.codecs.avro.schema import type_of
from kafka_etl.schema_registry.wire_format import head_of

INT, LONG = 2**31, 2**63
YEARS = dt.timedelta(days=700_000)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROS = st.timedeltas(-YEARS, YEARS).map(lambda since: EPOCH + since)
MILLIS = MICROS.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
NAIVE = MICROS.map(lambda at: at.replace(tzinfo=None))
TIMES = MILLIS.map(lambda at: at.time())
SIMPLE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("boolean", st.booleans()),
    ("int", st.integers(-INT, INT - 1)),
    ("long", st.integers(-LONG, LONG - 1)),
    ("float", st.floats(width=32, allow_nan=False)),
    ("double", st.floats(allow_nan=False)),
    ("string", st.text(max_size=5)),
    ("bytes", st.binary(max_size=5)),
    ({"type": "int", "logicalType": "date"}, st.dates()),
    ({"type": "int", "logicalType": "time-millis"}, TIMES),
    ({"type": "long", "logicalType": "time-micros"}, st.times()),
    ({"type": "long", "logicalType": "timestamp-millis"}, MILLIS),
    ({"type": "long", "logicalType": "timestamp-micros"}, MICROS),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, NAIVE),
    ({"type": "string", "logicalType": "uuid"}, st.uuids().map(str)),
]
_numbers = itertools.count()


def simple() -> st.SearchStrategy[Any]:
    return st.sampled_from(SIMPLE)


def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda t: (["null", t[0]], st.none() | t[1]) if not is_union(t[0]) else t),
        inner.map(lambda t: ([t[0], "null"], st.none() | t[1]) if not is_union(t[0]) else t),
        inner.map(lambda t: ({"type": "array", "items": t[0]}, st.lists(t[1], max_size=3))),
        inner.map(
            lambda t: (
                {"type": "map", "values": t[0]},
                st.dictionaries(st.text(max_size=3), t[1], max_size=3),
            )
        ),
        st.lists(inner, min_size=1, max_size=4).map(record),
        st.just(None).map(enum),
    )


def is_union(schema: Any) -> bool:
    return isinstance(schema, list)


def enum(_: None) -> tuple[Any, st.SearchStrategy[Any]]:
    name = f"E{next(_numbers)}"
    return {"type": "enum", "name": name, "symbols": ["A", "B", "C"]}, st.sampled_from("ABC")


def record(fields: list[tuple[Any, st.SearchStrategy[Any]]]) -> tuple[Any, Any]:
    named = [{"name": f"f{i}", "type": kind} for i, (kind, _) in enumerate(fields)]
    values = {f"f{i}": value for i, (_, value) in enumerate(fields)}
    schema = {"type": "record", "name": f"R{next(_numbers)}", "fields": named}
    return schema, st.fixed_dictionaries(values)


TYPES = st.recursive(simple(), wider, max_leaves=8)
RECORDS = st.lists(TYPES, min_size=1, max_size=5).map(record)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    schema, values = draw(RECORDS)
    return schema, draw(st.lists(values, min_size=1, max_size=4))


def written(schema: Any, values: list[Any]) -> list[bytes]:
    parsed = parse_schema(schema)
    found: list[bytes] = []
    for value in values:
        stream = BytesIO()
        schemaless_writer(stream, parsed, value)
        found.append(stream.getvalue())
    return found


def ways(schema: Any) -> tuple[Any, Any]:
    kind = type_of(schema)
    fast = fast_way(schema, kind, schema_of(kind))
    assert fast is not None
    return fast, slow_way(schema, None, schema_of(kind))


@given(batches())
@settings(max_examples=100, deadline=None)
def test_both_ways_read_the_same(batch: tuple[Any, list[Any]]) -> None:
    schema, values = batch
    payloads = written(schema, values)
    fast, slow = ways(schema)
    table = fast(payloads)
    assert table.schema == slow(payloads).schema
    assert table.equals(slow(payloads))


@given(batches())
@settings(max_examples=100, deadline=None)
def test_rows_are_written_as_the_records_were(batch: tuple[Any, list[Any]]) -> None:
    schema, values = batch
    payloads = written(schema, values)
    codec = table_codec(lambda _: schema, None, lambda: (head_of(1), schema))
    records = [head_of(1) + payload for payload in payloads]
    back = codec.encode(codec.decode(records))
    assert read(schema, back) == read(schema, records)  # a map has no order


def read(schema: Any, records: list[bytes]) -> list[Any]:
    return [schemaless_reader(BytesIO(data[5:]), parse_schema(schema)) for data in records]


@given(batches(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_record_cut_off_is_refused_and_more_bytes_are_passed_over(
    batch: tuple[Any, list[Any]], data: st.DataObject
) -> None:
    schema, values = batch
    payload = written(schema, values[:1])[0]
    assume(payload)
    fast, slow = ways(schema)
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    assert answers(fast, cut) == answers(slow, cut)
    assert fast([payload + data.draw(st.binary(max_size=9))]).equals(slow([payload]))


@given(batches(), st.data())
@settings(max_examples=100, deadline=None)
def test_what_the_fast_way_takes_the_slow_one_takes_too(
    batch: tuple[Any, list[Any]], data: st.DataObject
) -> None:
    """Broken bytes: nothing is read that the other would have refused, but times past all years."""
    schema, values = batch
    broken = bytearray(written(schema, values[:1])[0])
    assume(broken)
    broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    fast, slow = ways(schema)
    table = answers(fast, bytes(broken))
    if table is not None and not has_times(table.schema) and not repeats_keys(table):
        expected = answers(slow, bytes(broken))
        assert expected is not None
        assert repr(table.to_pylist()) == repr(expected.to_pylist())  # NaN is not itself


def answers(way: Any, payload: bytes) -> pa.Table | None:
    try:
        table: pa.Table = way([payload])
    except Exception:  # noqa: BLE001
        return None
    return table


def has_times(schema: pa.Schema) -> bool:
    text = str(schema)
    return any(word in text for word in ("timestamp", "time32", "time64", "date32"))


def repeats_keys(table: pa.Table) -> bool:
    """A map with one key twice, as no writer makes one."""
    return "map<" in str(table.schema)


def test_uuids_are_text() -> None:
    schema, _ = record([({"type": "string", "logicalType": "uuid"}, st.nothing())])
    fast, slow = ways(schema)
    payloads = written(schema, [{"f0": uuid.UUID(int=5)}])
    assert fast(payloads).equals(slow(payloads))
    assert fast(payloads).to_pylist() == [{"f0": str(uuid.UUID(int=5))}]
