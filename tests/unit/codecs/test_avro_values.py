"""Single values to Avro and back: what is refused, what is left out, and what is said."""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader

from kafka_etl.codecs.avro.read import value_reader
from kafka_etl.codecs.avro.schema import parsed
from kafka_etl.codecs.avro.write import value_writer

POINT = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}
SIZE = {"type": "enum", "name": "Size", "symbols": ["S", "L"]}
TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [
        {"name": "weight", "type": "float", "default": 0.5},
        {"name": "inner", "type": {"type": "array", "items": "Tree"}, "default": []},
    ],
}


def record(kind: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": "a", "type": kind, **more}]}


def array(kind: Any) -> dict[str, Any]:
    return {"type": "array", "items": kind}


def mapped(kind: Any) -> dict[str, Any]:
    return {"type": "map", "values": kind}


def read(schema: Any, data: bytes) -> Any:
    return schemaless_reader(BytesIO(data), parse_schema(schema))


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("int", 2**31, "field a: 2147483648 is no Avro int of 32 bits"),
        ("int", 6.7, "field a: 6.7 is no Avro int of 32 bits"),
        ("int", True, "field a: True is no Avro int of 32 bits"),
        ("boolean", 1, "field a: 1 is no Avro boolean"),
        ("long", -(2**63) - 1, "field a: -9223372036854775809 is no Avro long of 64 bits"),
        ("float", 1e300, "field a: 1e+300 is no Avro float of 32 bits"),
        (["null", "float"], -1e300, "field a: -1e+300 is no Avro float of 32 bits"),
        (["null", "int"], 2**31, "field a: 2147483648 is no Avro int of 32 bits"),
        (["float", "string"], 1e300, "field a: 1e+300 is no Avro union of float, string"),
        ("double", 10**400, "field a: 1000"),
        ("double", "x", "field a: 'x' is no Avro double"),
        ("string", 5, "field a: 5 is no Avro string"),
        ("string", None, "field a is null and must not be"),
        (SIZE, "Z", "field a: 'Z' is none of the symbols S, L"),
        (["null", SIZE], "Z", "field a: 'Z' is none of the symbols S, L"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4}, "x", "is no Avro decimal"),
        (array("int"), [1, 2**31], "field a[]: 2147483648 is no Avro int of 32 bits"),
        (array("long"), [1, 6.7], "field a[]: 6.7 is no Avro long of 64 bits"),
        (array("float"), [1.0, 1e300], "field a[]: 1e+300 is no Avro float of 32 bits"),
        (array("long"), 5, "field a: 5 is no Avro array"),
        (mapped("boolean"), {"k": 1}, "field a{}: 1 is no Avro boolean"),
        (mapped(["null", "float"]), {"k": 1e300}, "field a{}: 1e+300 is no Avro float"),
        (mapped("long"), {1: 1}, "field a: {1: 1} is no Avro map"),
        (POINT, {"x": 2**31}, "field a.x: 2147483648 is no Avro int of 32 bits"),
        (POINT, {}, "field a.x is missing"),
        (POINT, {"x": 1, "y": 2}, "the Avro schema has no field a.y"),
        (["null", POINT], {"x": 1, "y": 2}, "the Avro schema has no field a.y"),
        (array(POINT), [{"x": 1}, {"x": 1, "y": 2}], "the Avro schema has no field a[].y"),
        (["string", array(POINT)], [{"x": True}], "is no Avro union of string, array"),
        (TREE, {"inner": [{"inner": [{"weight": 1e300}]}]}, "field a.inner[].inner[].weight: 1e"),
    ],
)  # fmt: skip
def test_what_would_be_another_value_is_refused(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        value_writer(record(kind))({"a": value})


@pytest.mark.parametrize(
    ("kind", "value", "back"),
    [
        ("int", -(2**31), -(2**31)),
        ("int", 6.0, 6),
        ("float", math.inf, math.inf),
        ("float", 5, 5.0),
        (["float", "double"], 1e300, 1e300),
        (["null", "float"], None, None),
        (["null", array("int"), "string"], "text", "text"),
        ("double", Decimal("0.5"), 0.5),
        ({"type": "int", "logicalType": "date"}, dt.date(2026, 1, 2), dt.date(2026, 1, 2)),
        (array(["null", POINT]), [None, {"x": 1}], [None, {"x": 1}]),
        (TREE, {"inner": [{}]}, {"weight": 0.5, "inner": [{"weight": 0.5, "inner": []}]}),
    ],
)
def test_what_is_the_same_value_is_not(kind: Any, value: Any, back: Any) -> None:
    schema = record(kind)
    assert read(schema, value_writer(schema)({"a": value})) == {"a": back}


def logical(kind: str, logical_type: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical_type, **more}


DATE, UUID_TEXT = logical("int", "date"), logical("string", "uuid")
TIME, MICRO_TIME = logical("int", "time-millis"), logical("long", "time-micros")
MILLIS, MICROS = logical("long", "timestamp-millis"), logical("long", "timestamp-micros")
LOCAL = logical("long", "local-timestamp-millis")
PRICE = logical("bytes", "decimal", precision=4, scale=2)
FIXED_PRICE = logical("fixed", "decimal", precision=4, scale=2, size=2, name="Price")
TOKEN = {"type": "fixed", "name": "Token", "size": 3}
AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC)
MIDNIGHT = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
SOME_UUID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (UUID_TEXT, "nope", "field a: 'nope' is no Avro uuid: a UUID is wanted, or its text"),
        (["null", UUID_TEXT], "nope", "field a: 'nope' is no Avro uuid"),
        (DATE, 6.7, "field a: 6.7 is no Avro date"),
        (DATE, True, "field a: True is no Avro date"),
        (DATE, "soon", "is no Avro date: a date is wanted, text like '2026-01-31', or the number"),
        (DATE, AT, "is no Avro date"),
        (DATE, 2**31, "is no Avro date"),
        (MILLIS, 6.7, "field a: 6.7 is no Avro timestamp-millis: a datetime is wanted, text like"),
        (MILLIS, "2026-01-02", "is no Avro timestamp-millis"),
        (LOCAL, "2026-01-02T03:04:05Z", "text without a zone"),
        (TIME, "25:00:00", "is no Avro time-millis: a time without a zone is wanted"),
        (TIME, dt.time(1, tzinfo=dt.UTC), "is no Avro time-millis"),
        (PRICE, "1,5", "is no Avro decimal of its precision and scale: a Decimal, text like"),
        (PRICE, Decimal("NaN"), "is no Avro decimal"),
        (PRICE, Decimal("1.234"), "is no Avro decimal"),
        (PRICE, Decimal("1E+2"), "is no Avro decimal"),
        (PRICE, Decimal("1E+999999"), "is no Avro decimal"),
        (PRICE, 0.30000000000000004, "is no Avro decimal"),
        (PRICE, True, "is no Avro decimal"),
        (PRICE, b"abcdefgh", "is no Avro decimal"),
        ({**PRICE, "precision": 19}, 12345678901234567.89, "is no Avro decimal"),
        ({**FIXED_PRICE, "size": 1}, Decimal("-9.99"), "is no Avro decimal"),
        ("bytes", "no base64", "is no Avro bytes: bytes are wanted, or text in base64"),
        (TOKEN, "YWI=", "is no Avro fixed: bytes of its size are wanted, or text in base64"),
        (logical("long", "timestamp-nanos"), 6.7, "field a: 6.7 is no Avro long of 64 bits"),
        ([MILLIS, "long"], 6.7, "is no Avro union of timestamp-millis, long"),
    ],
)
def test_logical_types_are_checked_too(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        value_writer(record(kind))({"a": value})


@pytest.mark.parametrize(
    ("kind", "value", "back"),
    [
        (DATE, "2026-01-02", dt.date(2026, 1, 2)),
        (DATE, dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.date(2026, 1, 2)),
        (TIME, "03:04:05.678", dt.time(3, 4, 5, 678_000)),
        (MICRO_TIME, "03:04:05", dt.time(3, 4, 5)),
        (MILLIS, "2026-01-02T03:04:05.678+00:00", AT),
        (MILLIS, "2026-01-02T04:04:05.678+01:00", AT),
        (MICROS, "2026-01-02T03:04:05.678Z", AT),
        (MICROS, "2026-01-02T03:04:05.678", AT),
        (MILLIS, AT.replace(tzinfo=None), AT),
        (["null", MILLIS], "2026-01-02T03:04:05.678Z", AT),
        (array(MILLIS), ["2026-01-02T03:04:05.678Z"], [AT]),
        (LOCAL, "2026-01-02T03:04:05.678", AT.replace(tzinfo=None)),
        (PRICE, "-12.5", Decimal("-12.50")),
        (PRICE, "12.500", Decimal("12.50")),
        (PRICE, 12.5, Decimal("12.50")),
        (PRICE, 12, Decimal("12.00")),
        (PRICE, Decimal(0), Decimal("0.00")),
        (FIXED_PRICE, "-12.5", Decimal("-12.50")),
        (["null", PRICE], "12.5", Decimal("12.50")),
        ("bytes", "/w==", b"\xff"),
        (["null", "bytes"], "/w==", b"\xff"),
        (TOKEN, "YWJj", b"abc"),
        (UUID_TEXT, SOME_UUID, uuid.UUID(SOME_UUID)),
        (["null", UUID_TEXT], uuid.UUID(SOME_UUID), uuid.UUID(SOME_UUID)),
        (DATE, 6.0, dt.date(1970, 1, 7)),
        # A text is a text where a union has it, and a number a number.
        (["bytes", "string"], "YWJj", "YWJj"),
        ([MILLIS, "string"], "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        (["bytes", SIZE], "S", "S"),
        ([MILLIS, "double"], 5.0, 5.0),
        ([MILLIS, DATE], AT, AT),
        ([DATE, MILLIS], MIDNIGHT, MIDNIGHT),
    ],
)  # fmt: skip
def test_forms_that_json_has_are_written(kind: Any, value: Any, back: Any) -> None:
    schema = record(kind)
    assert read(schema, value_writer(schema)({"a": value})) == {"a": back}


@pytest.mark.parametrize(
    ("kind", "default", "back"),
    [("bytes", "\u00ffYWJj", b"\xffYWJj"), ("bytes", "YWJj", b"YWJj"), (TOKEN, "YWJ", b"YWJ")],
)
def test_the_default_of_bytes_is_no_base64(kind: Any, default: str, back: bytes) -> None:
    schema = record(kind, default=default)
    assert read(schema, value_writer(schema)({})) == {"a": back}


FAR = 253_402_300_800_000
"""Milliseconds to the year 10000."""


@pytest.mark.parametrize(
    ("kind", "plain", "value"),
    [
        (MILLIS, "long", FAR),
        (MILLIS, "long", -(2**63)),
        (MICROS, "long", FAR * 1000),
        (LOCAL, "long", FAR),
        (DATE, "int", 2**31 - 1),
        (TIME, "int", 86_400_000),
        (MICRO_TIME, "long", 86_400_000_000),
        (UUID_TEXT, "string", "nope"),
        (["null", MILLIS], ["null", "long"], FAR),
        (array(MILLIS), array("long"), [FAR, FAR]),
    ],
)
def test_what_python_has_no_time_for_is_read_as_its_number(
    kind: Any, plain: Any, value: Any
) -> None:
    """PostgreSQL's infinity, and 24:00:00: nobody may have looked at the field."""
    data = value_writer(record(plain))({"a": value})
    found = value_reader(whole=True)(BytesIO(data), 0, parsed(record(kind)), None)
    assert found == {"a": value}
    if value != "nope":
        assert value_writer(record(kind))(found) == data
    as_written = value_reader(whole=True)(
        BytesIO(data), 0, parsed(record(kind)), parsed(record(kind, doc="another"))
    )
    assert as_written == {"a": value}


OPENED = {
    "type": "record",
    "name": "Opened",
    "namespace": "shop",
    "fields": [{"name": "door", "type": "string"}],
}
CLOSED = {**OPENED, "name": "Closed"}
DOORS = ["null", OPENED, CLOSED]
DOOR = {"door": "front"}


@pytest.mark.parametrize("within", [lambda kind: kind, array, mapped])
def test_a_record_that_may_be_two_branches_of_a_union_is_refused(within: Any) -> None:
    value = {array: [DOOR], mapped: {"k": DOOR}}.get(within, DOOR)
    said = r"may be any of the branches shop.Opened, shop.Closed of an Avro union: .*-type"
    with pytest.raises(ValueError, match=said):
        value_writer(record(within(DOORS)))({"a": value})


@pytest.mark.parametrize(
    ("value", "branch"),
    [
        (("shop.Closed", DOOR), 2),
        ({"-type": "shop.Closed", **DOOR}, 2),
        ({"-type": "shop.Opened", **DOOR}, 1),
        (None, 0),
    ],
)
def test_its_branch_can_be_named(value: Any, branch: int) -> None:
    data = value_writer(record(DOORS))({"a": value})
    assert data[0] == branch * 2
    assert read(record(DOORS), data) == {"a": None if value is None else DOOR}


def test_a_name_that_is_no_branch_is_refused() -> None:
    with pytest.raises(ValueError, match="no Avro union of null, record, record"):
        value_writer(record(DOORS))({"a": ("shop.Nowhere", DOOR)})
    with pytest.raises(ValueError, match="is no Avro union of null, record, record"):
        value_writer(record(DOORS))({"a": {"-type": "shop.Nowhere", **DOOR}})


def test_what_is_wrong_in_a_named_branch_is_said() -> None:
    with pytest.raises(ValueError, match=r"field a\.door: 5 is no Avro string"):
        value_writer(record(DOORS))({"a": ("shop.Closed", {"door": 5})})


def test_the_branch_with_just_the_fields_is_taken() -> None:
    wider = {
        **CLOSED,
        "fields": [*OPENED["fields"], {"name": "by", "type": "string", "default": "wind"}],
    }
    schema = record([wider, OPENED])
    assert value_writer(schema)({"a": DOOR})[0] == 2
    assert value_writer(schema)({"a": {**DOOR, "by": "me"}})[0] == 0


def test_a_record_that_may_be_a_map_is_refused() -> None:
    with pytest.raises(ValueError, match=r"may be any of the branches map, shop\.Opened"):
        value_writer(record([mapped("string"), OPENED]))({"a": DOOR})


def test_a_tuple_may_still_be_an_array_in_a_union() -> None:
    schema = record(["null", array("string")])
    assert read(schema, value_writer(schema)({"a": ("x", "y")})) == {"a": ["x", "y"]}


def test_a_field_may_have_its_default() -> None:
    schema = record("long", default=7)
    assert read(schema, value_writer(schema)({})) == {"a": 7}


def test_a_value_need_not_be_a_record() -> None:
    assert value_writer("int", b"head")(5) == b"head\x0a"
    with pytest.raises(ValueError, match="2147483648 is no Avro int of 32 bits"):
        value_writer("int")(2**31)


@pytest.mark.parametrize(
    ("kind", "value", "known"),
    [
        (POINT, {"x": 1, "y": None}, {"x": 1}),
        (["null", POINT], {"x": 1, "y": None}, {"x": 1}),
        (array(POINT), [{"x": 1, "y": None}], [{"x": 1}]),
        (mapped(array(POINT)), {"k": [{"x": 1, "y": None}]}, {"k": [{"x": 1}]}),
        (mapped("long"), {"k": 1, "l": None}, {"k": 1}),
        (mapped(["null", "long"]), {"k": 1, "l": None}, {"k": 1, "l": None}),
    ],
)
def test_what_holds_nothing_and_has_no_place_is_left_out(kind: Any, value: Any, known: Any) -> None:
    """Objects that were columns have the fields of all others."""
    schema = record(kind)
    assert read(schema, value_writer(schema)({"a": value, "b": None})) == {"a": known}


WIDE = {
    "type": "record",
    "name": "Wide",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "text", "type": "string"},
        {"name": "size", "type": SIZE},
        {"name": "share", "type": ["null", "double"]},
        {"name": "points", "type": array(POINT)},
    ],
}
VALUE = {"id": 300, "text": "abc", "size": "L", "share": 0.5, "points": [{"x": 300}]}
DATA = value_writer(WIDE, b"head")(VALUE)


@pytest.mark.parametrize("cut", range(len("head"), len(DATA)))
def test_a_payload_that_ends_too_early_says_where(cut: int) -> None:
    with pytest.raises(ValueError, match=r"the payload ends before its Avro schema does in field"):
        _read(DATA[:cut])


@pytest.mark.parametrize(
    ("place", "byte", "said"),
    [
        (7, b"\xff", "has a text in field text that is not UTF-8"),
        (10, b"\x08", "has a symbol or a branch in field size that its Avro schema does not"),
        (11, b"\x08", "has a symbol or a branch in field share that its Avro schema does not"),
    ],
)
def test_a_payload_that_is_broken_says_where(place: int, byte: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _read(DATA[:place] + byte + DATA[place + 1 :])


def test_the_payload_begins_behind_the_head() -> None:
    assert _read(DATA) == VALUE


def _read(data: bytes) -> Any:
    stream = BytesIO(data)
    stream.read(len("head"))
    return value_reader(whole=True)(stream, len("head"), parsed(WIDE), None)
