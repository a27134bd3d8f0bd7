"""Avro payloads to tables and back."""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from decimal import Decimal
from io import BytesIO
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from fastavro import parse_schema, schemaless_writer

from kafka_etl.codecs.arrow import rows_of
from kafka_etl.codecs.avro import backends as avro_ways
from kafka_etl.codecs.avro import columns as avro_table
from kafka_etl.codecs.avro.columns import table_codec
from kafka_etl.codecs.avro.schema import NotForColumns, document_of, type_of
from kafka_etl.codecs.avro.write import value_writer
from kafka_etl.contracts import TableCodec, Unavailable
from kafka_etl.errors import RecordErrors
from kafka_etl.schema_registry.client import Schema
from kafka_etl.schema_registry.wire_format import NotInWireFormat, head_of


def record(**fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "R",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


FIRST = record(id="long", note=["null", "string"])
SECOND = record(id="int", more="double")
MILLIS = logical("long", "timestamp-millis")
INNER = {"type": "record", "name": "I", "fields": [{"name": "x", "type": "int"}]}
OUTER = {
    "type": "record",
    "name": "O",
    "fields": [{"name": "i", "type": {"type": "array", "items": INNER}}],
}
SIZE = {"type": "enum", "name": "E", "symbols": ["S", "L"]}
PRICE = logical("bytes", "decimal", precision=9, scale=2)

UUID = logical("string", "uuid")
SOME_UUID = "01234567-89ab-cdef-0123-456789abcdef"
TOKEN = {"type": "fixed", "name": "Token", "size": 3}


def written(schema: Any, value: Any, schema_id: int = 1) -> bytes:
    stream = BytesIO()
    stream.write(head_of(schema_id))
    schemaless_writer(stream, parse_schema(schema), value)
    return stream.getvalue()


def codec(*schemas: Any, read_as: Any = None) -> TableCodec:
    """Ids count from 1; the first is written."""
    known = dict(enumerate(schemas, 1))

    def find(schema_id: int) -> Any:
        if schema_id not in known:
            raise Unavailable(f"{schema_id} is not there")
        return known[schema_id]

    return table_codec(find, read_as, lambda: (head_of(1), schemas[0]))


def test_records_become_rows() -> None:
    rows = [{"id": 1, "note": "a"}, {"id": 2, "note": None}]
    table = codec(FIRST).decode([written(FIRST, row) for row in rows])
    assert table.schema == pa.schema([("id", pa.int64()), ("note", pa.string())])
    assert table.to_pylist() == rows


def test_several_schemas_in_one_batch_keep_their_order() -> None:
    values = [
        written(FIRST, {"id": 1, "note": "a"}),
        written(SECOND, {"id": 2, "more": 0.5}, 2),
        written(FIRST, {"id": 3, "note": None}),
    ]
    assert codec(FIRST, SECOND).decode(values).to_pylist() == [
        {"id": 1, "note": "a", "more": None},
        {"id": 2, "note": None, "more": 0.5},
        {"id": 3, "note": None, "more": None},
    ]


def test_the_bad_ones_are_named_whatever_is_wrong_with_them() -> None:
    good, other = written(FIRST, {"id": 1, "note": "abc"}), written(SECOND, {"id": 2, "more": 1}, 2)
    values = [good, good[:-1], other, b"{}", other[:-2], b"\x00"]
    with pytest.raises(RecordErrors) as caught:
        codec(FIRST, SECOND).decode(values)
    assert sorted(caught.value.errors) == [1, 3, 4, 5]
    assert isinstance(caught.value.errors[3], NotInWireFormat)


def test_bad_ones_among_many_good_ones() -> None:
    """The fast way is chosen by the first, and gives up at the last."""
    good = written(FIRST, {"id": 1, "note": "abc"})
    read = codec(FIRST).decode
    read([good])
    with pytest.raises(RecordErrors) as caught:
        read([*[good] * 500, good[:-1]])
    assert list(caught.value.errors) == [500]
    assert read([good] * 500).num_rows == 500


def test_an_unknown_id_among_others_blames_nobody() -> None:
    good = written(FIRST, {"id": 1, "note": None})
    with pytest.raises(Unavailable):
        codec(FIRST).decode([good, written(SECOND, {"id": 2, "more": 1}, 2)])


def test_text_that_is_none_is_not_let_through() -> None:
    data = written(FIRST, {"id": 1, "note": "abc"}).replace(b"abc", b"a\xff\xffc"[:3])
    with pytest.raises(RecordErrors):
        codec(FIRST).decode([data])
    many = codec(FIRST)
    many.decode([written(FIRST, {"id": 1, "note": "abc"})])
    with pytest.raises(RecordErrors):
        many.decode([data])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (["null", "string"], "abc"),
        ({"type": "array", "items": "string"}, ["abc"]),
        ({"type": "map", "values": "string"}, {"k": "abc"}),
        ({"type": "map", "values": "long"}, {"abc": 1}),
        ({"type": "array", "items": record(t="string") | {"name": "I"}}, [{"t": "abc"}]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_read_as", [False, True])
@pytest.mark.parametrize("text", [b"\xff\xfe\xfd", b"\xed\xa0\x80", b"\xe4\xb8A"])
def test_nor_is_it_anywhere_within(kind: Any, value: Any, is_read_as: bool, text: bytes) -> None:
    """Polars would not survive it."""
    schema = record(a=kind)
    good = written(schema, {"a": value})
    read = codec(schema, read_as=schema | {"doc": "other"} if is_read_as else None).decode
    assert read([good] * 3).num_rows == 3
    with pytest.raises(RecordErrors) as raised:
        read([good, good, good.replace(b"abc", text), good])
    assert list(raised.value.errors) == [2]
    assert "a text in field a that is not UTF-8" in str(raised.value.errors[2])


def test_bytes_after_the_record_are_passed_over_by_both_ways(monkeypatch: Any) -> None:
    """The fast one does not say how far it has read."""
    data = written(FIRST, {"id": 1, "note": "abc"}) + b"more"
    fast = codec(FIRST).decode([data])
    monkeypatch.setattr(avro_ways, "_ruhvro", lambda: None)
    assert codec(FIRST).decode([data]) == fast


def test_a_panic_is_survived_once_and_not_tried_again(monkeypatch: Any) -> None:
    calls: list[int] = []
    panic = type("PanicException", (BaseException,), {})

    def gives_up(payloads: list[bytes]) -> Any:
        calls.append(len(payloads))
        raise panic

    monkeypatch.setattr(avro_table, "fast_way", lambda *_: gives_up)
    read = codec(FIRST).decode
    data = written(FIRST, {"id": 1, "note": None})
    assert read([data]).num_rows == 1
    assert read([data] * 3).num_rows == 3
    assert calls == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_panic(monkeypatch: Any, error: type[BaseException]) -> None:
    def interrupted(_: list[bytes]) -> Any:
        raise error

    monkeypatch.setattr(avro_table, "fast_way", lambda *_: interrupted)
    with pytest.raises(error):
        codec(FIRST).decode([written(FIRST, {"id": 1, "note": None})])


def test_a_way_that_answers_otherwise_is_not_taken(monkeypatch: Any) -> None:
    wrong = pa.table({"id": pa.array([9]), "note": pa.array(["x"])})
    monkeypatch.setattr(avro_table, "fast_way", lambda *_: lambda _: wrong)
    data = written(FIRST, {"id": 1, "note": None})
    assert codec(FIRST).decode([data]).to_pylist() == [{"id": 1, "note": None}]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("string", "only an Avro record can be a row"),
        (record(a=["null", "int", "string"]), "field a .* union of several types"),
        (record(a=["null", "R"]), "type R holds itself"),
    ],
)
def test_what_no_column_holds_is_said(schema: Any, said: str) -> None:
    with pytest.raises(NotForColumns, match=said):
        codec(schema).decode([head_of(1) + b"\x00\x00"])


def test_columns_are_put_in_order_and_into_the_types_of_the_schema() -> None:
    tags = {"type": "array", "items": "string"}
    schema = record(id="int", at=MILLIS, note=["null", "string"], tags=tags)
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=dt.UTC)
    table = pl.DataFrame({"tags": [["a"], []], "at": [at, at], "id": [1, 2]}).to_arrow()
    data = codec(schema).encode(table)
    expected = at.replace(microsecond=678_000)
    assert data == [
        written(schema, {"id": 1, "at": expected, "note": None, "tags": ["a"]}),
        written(schema, {"id": 2, "at": expected, "note": None, "tags": []}),
    ]


def test_a_time_without_a_zone_is_utc() -> None:
    naive = pa.table({"at": pa.array([1_767_312_000_000_000], pa.timestamp("us"))})
    there = dt.datetime(2026, 1, 2, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    zoned = pa.table({"at": pa.array([there], pa.timestamp("us", "Europe/Berlin"))})
    expected = [written(record(at=MILLIS), {"at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)})]
    assert codec(record(at=MILLIS)).encode(naive) == expected
    assert codec(record(at=MILLIS)).encode(zoned) == expected


FAR = 253_402_300_800_000
"""Milliseconds to the year 10000."""


@pytest.mark.parametrize(
    ("kind", "plain", "number"),
    [
        (MILLIS, "long", FAR),
        (MILLIS, "long", -(2**63)),
        (logical("long", "timestamp-micros"), "long", FAR * 1000),
        (logical("int", "date"), "int", 2**31 - 1),
        (logical("int", "time-millis"), "int", 86_400_000),
    ],
)
@pytest.mark.parametrize("further", [{}, {"p": PRICE}])  # the slow way
def test_times_beyond_those_of_python_pass_through_columns(
    kind: Any, plain: Any, number: int, further: Any
) -> None:
    price = {"p": Decimal("1.00")} if further else {}
    rows = [{"a": number, **price}, {"a": 5, **price}]
    data = [written(record(a=plain, **further), row) for row in rows]
    both = codec(record(a=kind, **further))
    table = both.decode(data)
    assert both.encode(table) == data
    assert rows_of(table)[0]["a"] == number
    assert isinstance(rows_of(table)[1]["a"], dt.date | dt.time)


@pytest.mark.parametrize(
    ("kind", "rows", "said"),
    [
        ("long", [1, None], "field a is null and must not be"),
        ("long", [1, "x"], "field a: 'x' is no Avro long of 64 bits"),
        ("int", [1, 2**31], "field a: 2147483648 is no Avro int of 32 bits"),
        (["null", "int"], [None, -(2**31) - 1], "field a: -2147483649 is no Avro int of 32 bits"),
        ("int", [6.0, 6.7], "field a: 6.7 is no Avro int of 32 bits"),
        ("float", [math.inf, 1e300], "field a: 1e+300 is no Avro float of 32 bits"),
        ("float", [0.1, -1e39], "field a: -1e+39 is no Avro float of 32 bits"),
        (SIZE, ["L", "XL"], "field a: 'XL' is none of the symbols S, L"),
        (logical("int", "date"), ["2026-01-02", "x"], "field a: 'x' is no Avro date"),
        (MILLIS, ["2026-01-02T03:04:05+00:00", "2026-01-02"], "is no Avro timestamp-millis: a dat"),
        (logical("int", "time-millis"), ["03:04:05.678", "24:00:00"], "is no Avro time-millis"),
        (PRICE, ["12.50", "12.501"], "field a: '12.501' is no Avro decimal of its precision"),
        (PRICE, [12.5, 1234567.8912345679], "field a: 1234567.8912345679 is no Avro decimal"),
        (PRICE, [12, 2**31], "field a: 2147483648 is no Avro decimal"),
        ("bytes", ["/w==", "no base64"], "is no Avro bytes: bytes are wanted, or text in base64"),
        (TOKEN, ["YWJj", "YWI="], "is no Avro fixed: bytes of its size are wanted, or text in ba"),
        (UUID, [SOME_UUID, "nope"], "field a: 'nope' is no Avro uuid: a UUID is wanted, or its"),
        (["null", UUID], [None, "nope"], "field a: 'nope' is no Avro uuid"),
        ({"type": "array", "items": "int"}, [[], [1, 2**31]], "field a[]: 2147483648 is no Avro"),
        ({"type": "array", "items": "long"}, [[1], [1, None]], "field a[] is null"),
        ({"type": "map", "values": INNER}, [{}, {"k": {"x": None}}], "field a{}.x is null"),
        (INNER, [{"x": 1}, {"x": None}], "field a.x is null"),
        (INNER, [{"x": 1}, {"x": 2**31}], "field a.x: 2147483648 is no Avro int"),
        (INNER, [{"x": 1, "y": None}, {"x": 2, "y": 5}], "the Avro schema has no field a.y"),
        (["null", INNER], [None, {"x": 2, "y": 5}], "the Avro schema has no field a.y"),
        ({"type": "array", "items": INNER}, [[], [{"x": 1, "y": 5}]], "schema has no field a[].y"),
        ({"type": "map", "values": INNER}, [{}, {"k": {"x": 1, "y": 5}}], "has no field a{}.y"),
        (OUTER, [{"i": [{"x": 1}]}, {"i": [{"x": 1}, {"x": 1, "y": 5}]}], "no field a.i[].y"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_named(kind: Any, rows: list[Any], said: str) -> None:
    """In columns as they are learnt from JSON, in parts of longer ones, and row by row."""
    good, bad = rows
    schema = record(a=kind)
    encode = codec(schema).encode
    table = _learnt([bad, good, good, bad, good]).slice(1)
    with pytest.raises(RecordErrors) as raised:
        encode(table)
    assert list(raised.value.errors) == [2]
    assert said in str(raised.value.errors[2])
    fine = encode(table.take([0, 1, 3]))
    assert len(set(fine)) == 1
    write = value_writer(schema, head_of(1))
    assert write({"a": good}) == fine[0]
    with pytest.raises(ValueError, match=re.escape(said)):
        write({"a": bad})


def _learnt(values: list[Any]) -> pa.Table:
    """Numbers become text beside text, and objects have the fields of all."""
    if any(isinstance(value, str) for value in values):
        values = [value if value is None else str(value) for value in values]
    if any(isinstance(value, float) for value in values):
        values = [float(value) for value in values]
    return pa.table({"a": pa.array(values)})


def test_rows_with_further_fields_are_named() -> None:
    table = pa.table({"id": [1, 2, 3], "extra": [None, 1, None], "more": [None, 2, 3]})
    with pytest.raises(RecordErrors) as raised:
        codec(FIRST).encode(table)
    assert {row: str(error) for row, error in raised.value.errors.items()} == {
        1: "the Avro schema has no field extra, more",
        2: "the Avro schema has no field more",
    }


def test_a_column_that_is_missing_is_left_to_those_who_know_defaults() -> None:
    with pytest.raises(ValueError, match="no column id"):
        codec(FIRST).encode(pa.table({"note": ["a"]}))


def test_what_is_missing_has_its_default_whatever_others_have() -> None:
    within = {**INNER, "fields": [{"name": "x", "type": "int", "default": 7}]}
    schema = record(id="long", n="int", size=SIZE, i=within)
    for field, default in zip(schema["fields"], (None, 7, "L", None), strict=True):
        field.update({} if default is None else {"default": default})
    expected = [
        written(schema, {"id": 1, "i": {}}),
        written(schema, {"id": 2, "n": 1, "size": "S", "i": {"x": 1}}),
    ]
    both = pa.table(
        {
            "id": [1, 2],
            "n": [None, 1],
            "size": [None, "S"],
            "i": [{"x": None}, {"x": 1}],
        }
    )
    encode = codec(schema).encode
    assert encode(both) == expected
    assert encode(both.slice(0, 1)) == expected[:1]
    assert encode(both.slice(0, 1).select(["id", "i"])) == expected[:1]


def test_further_fields_within_that_no_row_has_are_left_out() -> None:
    """They were in an earlier batch."""
    schema = record(a=["null", OUTER], m={"type": "map", "values": "I"})
    further = pa.struct([("y", pa.string()), ("x", pa.int64())])
    kinds = [("a", pa.struct([("i", pa.list_(further))])), ("m", pa.map_(pa.string(), further))]
    rows = [
        {"a": {"i": [{"x": 1}, {"x": 2}]}, "m": {"k": {"x": 3}}},
        {"a": None, "m": {}},
        {"a": {"i": []}, "m": {"k": {"x": 4}, "l": {"x": 5}}},
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema(kinds))
    expected = [written(schema, row) for row in rows]
    assert codec(schema).encode(table) == expected
    write = value_writer(schema, head_of(1))
    values = table.to_pylist(maps_as_pydicts="strict")
    assert [write(value) for value in values] == expected


LONGS = {"type": "map", "values": "long"}


@pytest.mark.parametrize("values", ["long", ["null", "long"]])
def test_objects_become_maps_of_what_they_hold(values: Any) -> None:
    """Columns of JSON know objects alone, which have the fields of all others."""
    schema = record(m=["null", {"type": "map", "values": values}])
    maps: list[Any] = [{"x": 9}, {"b": 1, "a": 2}, None, {"a": 3}, {}, {"b": 5, "c": 4}]
    table = pa.table({"m": pa.array(maps)}).slice(1)
    assert codec(schema).encode(table) == [written(schema, {"m": one}) for one in maps[1:]]
    nothing = pa.table({"m": pa.array([{}, None], pa.struct([]))})
    assert codec(schema).encode(nothing) == [written(schema, {"m": one}) for one in ({}, None)]


def test_objects_within_become_maps_too() -> None:
    schema = record(
        a={"type": "array", "items": {**record(m={"type": "map", "values": LONGS}), "name": "I"}}
    )
    rows: list[Any] = [
        {"a": [{"m": {"x": {"p": 1}, "y": {"q": 2}}}, {"m": {}}]},
        {"a": []},
        {"a": [{"m": {"z": {}}}]},
    ]
    assert codec(schema).encode(pa.Table.from_pylist(rows)) == [
        written(schema, row) for row in rows
    ]


def test_what_does_not_fit_into_a_map_is_named() -> None:
    table = pa.table({"m": pa.array([{"a": "1"}, {"b": "x"}, {"a": "3", "c": "y"}])})
    with pytest.raises(RecordErrors) as raised:
        codec(record(m=LONGS)).encode(table)
    assert {row: str(error) for row, error in raised.value.errors.items()} == {
        1: "field m{}: 'x' is no Avro long of 64 bits",
        2: "field m{}: 'y' is no Avro long of 64 bits",
    }


def test_maps_stay_maps_through_other_libraries() -> None:
    schema = record(m=["null", {"type": "map", "values": ["null", "long"]}])
    maps: list[Any] = [{"a": 1, "b": None}, None, {}, {"c": 3}]
    values = [written(schema, {"m": one}) for one in maps]
    table = codec(schema).decode(values)
    pairs = pa.list_(pa.struct([("key", pa.string()), ("value", pa.int64())]))
    assert codec(schema).encode(table) == values
    assert codec(schema).encode(table.slice(2)) == values[2:]
    assert codec(schema).encode(pl.DataFrame(table).to_arrow()) == values
    assert codec(schema).encode(pa.table({"m": table["m"].cast(pairs)})) == values


@pytest.mark.parametrize("size", [None, 2])
def test_lists_of_every_kind(size: int | None) -> None:
    schema = record(a=["null", {"type": "array", "items": "int"}])
    rows: list[Any] = [[9, 9], None, [1, 2], [3, 4]]
    kinds = [pa.list_(pa.int64(), size or -1), pa.large_list(pa.int64())]
    for kind in kinds:
        table = pa.table({"a": pa.array(rows, kind)}).slice(1)
        assert codec(schema).encode(table) == [written(schema, {"a": row}) for row in rows[1:]]


def test_the_fast_encoder_may_give_up(monkeypatch: Any) -> None:
    def gives_up(_: Any) -> Any:
        raise type("PanicException", (BaseException,), {})

    monkeypatch.setattr(avro_table, "fast_writer", lambda *_: gives_up)
    assert codec(FIRST).encode(pa.table({"id": [1]})) == [written(FIRST, {"id": 1, "note": None})]


def test_a_further_field_that_no_row_has_is_left_out() -> None:
    """It was in an earlier batch."""
    table = pa.table({"id": [1], "extra": pa.nulls(1)})
    assert codec(FIRST).encode(table) == [written(FIRST, {"id": 1, "note": None})]


def test_a_null_in_a_map_is_found_too() -> None:
    """The fast encoder would write a zero."""
    column = pa.array([{"x": 1}, {"x": None}], pa.map_(pa.string(), pa.int64()))
    with pytest.raises(RecordErrors) as raised:
        codec(record(a=LONGS)).encode(pa.table({"a": column}))
    assert str(raised.value.errors[1]) == "field a{} is null and must not be"


def test_a_null_parent_has_no_null_children() -> None:
    schema = record(a=["null", INNER])
    table = pa.table({"a": pa.array([None, {"x": 1}])})
    assert codec(schema).encode(table) == [
        written(schema, {"a": None}),
        written(schema, {"a": {"x": 1}}),
    ]


def test_decimals_and_fixed_go_the_slow_way_to_the_same_end() -> None:
    schema = record(price=PRICE, code={"type": "fixed", "name": "F", "size": 2})
    rows = [{"price": Decimal("-1.25"), "code": b"ab"}, {"price": Decimal("0.00"), "code": b"cd"}]
    values = [written(schema, row) for row in rows]
    table = codec(schema).decode(values)
    assert table.schema.field("price").type == pa.decimal128(9, 2)
    assert table.to_pylist() == rows
    assert codec(schema).encode(table) == values


def test_an_empty_table_is_no_records() -> None:
    assert codec(FIRST).encode(pa.table({"id": pa.array([], pa.int64())})) == []


def test_a_part_of_a_table() -> None:
    rows = [{"id": i, "note": None if i % 2 else str(i)} for i in range(10)]
    table = pa.concat_tables([pa.Table.from_pylist(rows[:5]), pa.Table.from_pylist(rows[5:])])
    expected = [written(FIRST, row) for row in rows[3:8]]
    assert codec(FIRST).encode(table.slice(3, 5)) == expected


def test_references_are_put_where_their_names_stand() -> None:
    money = '{"type": "record", "name": "bank.Money", "fields": [{"name": "n", "type": "Size"}]}'
    size = '{"type": "enum", "name": "bank.Size", "symbols": ["S"]}'
    text = '{"type": "record", "name": "shop.Bill", "fields": [{"name": "a", "type": "bank.Money"}, {"name": "b", "type": ["null", "bank.Size"]}]}'  # fmt: skip # noqa: E501
    document = document_of(Schema("AVRO", text, {"bank.Size": size, "bank.Money": money}))
    schema = parse_schema(document)
    stream = BytesIO()
    schemaless_writer(stream, schema, {"a": {"n": "S"}, "b": "S"})
    assert stream.getvalue() == struct.pack("BBB", 0, 2, 0)
    assert [part.kind for _, part in type_of(document).parts] == ["record", "enum"]
