"""Single values to Avro and back: what is refused, what is left out, and what is said."""

from __future__ import annotations

import datetime as dt
import math
import re
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
        ([POINT, {**POINT, "name": "Other"}], {"x": 1}, {"x": 1}),
    ],
)
def test_what_is_the_same_value_is_not(kind: Any, value: Any, back: Any) -> None:
    schema = record(kind)
    assert read(schema, value_writer(schema)({"a": value})) == {"a": back}


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
