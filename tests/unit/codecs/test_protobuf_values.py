"""Values that Protobuf does not take, or would write as something else."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from kafka_etl.codecs.protobuf.codec import _end_of_indexes, _reader
from kafka_etl.codecs.protobuf.schema import class_named, compiled
from kafka_etl.codecs.protobuf.write import value_writer
from kafka_etl.schema_registry.client import Schema
from kafka_etl.schema_registry.wire_format import NotInWireFormat

SCHEMA = """syntax = "proto3";
package shop;
import "google/protobuf/struct.proto";
message Bill { Order order = 1; }
message Order {
  repeated Item items = 1;
  map<string, Item> by_name = 2;
  map<int32, Item> by_number = 3;
  map<bool, bytes> by_truth = 4;
  Size size = 5;
  repeated string tags = 6;
  oneof paid { string card = 7; Item cash = 8; }
  optional string note = 9;
  google.protobuf.Struct free = 10;
  string name = 11;
}
message Item {
  uint32 price = 1;
  float weight = 2;
  bytes raw = 3;
  Order bundle = 4;
  repeated float more = 5;
  double far = 6;
}
enum Size { S = 0; L = 1; }
"""
OLD = """syntax = "proto2"; message Old { required int64 id = 1; }"""


@pytest.fixture(scope="module")
def bill() -> Any:
    return class_named(compiled(Schema("PROTOBUF", SCHEMA)), "")


def order(bill: Any, value: Any) -> Any:
    """What comes back."""
    return _reader(bill)(value_writer(bill, b"")({"order": value}))["order"]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (
            {"items": [{}, {}, {"price": "x"}]},
            "field order.items[2].price: 'x' is no Protobuf uint32",
        ),
        ({"items": [{"price": -1}]}, "field order.items[0].price: -1 is no Protobuf uint32"),
        ({"items": [{"price": 1.5}]}, "field order.items[0].price: 1.5 is no Protobuf uint32"),
        ({"items": [None]}, "field order.items[0] is null and must not be"),
        ({"items": 5}, "field order.items: 5 is no Protobuf repeated shop.Item"),
        (
            {"items": {"price": 1}},
            "field order.items: {'price': 1} is no Protobuf repeated shop.Item",
        ),
        ({"cash": 5}, "field order.cash: 5 is no Protobuf shop.Item"),
        ({"tags": ["a", 5]}, "field order.tags[1]: 5 is no Protobuf string"),
        ({"name": b"\xff"}, r"field order.name: b'\xff' is no Protobuf string"),
        ({"size": "XL"}, "field order.size: 'XL' is no Protobuf enum of S, L"),
        (
            {"by_name": {"a": {"price": "x"}}},
            "field order.by_name['a'].price: 'x' is no Protobuf uint32",
        ),
        ({"by_name": {"a": None}}, "field order.by_name['a'] is null and must not be"),
        ({"by_name": [1]}, "field order.by_name: [1] is no Protobuf map"),
        ({"by_number": {"a": {}}}, "field order.by_number{}: 'a' is no Protobuf int32"),
        ({"by_number": {"01": {}}}, "field order.by_number{}: '01' is no Protobuf int32"),
        (
            {"by_number": {str(2**31): {}}},
            "field order.by_number{}: 2147483648 is no Protobuf int32",
        ),
        ({"by_truth": {"yes": b""}}, "field order.by_truth{}: 'yes' is no Protobuf bool"),
        ({"cash": {"raw": "hello"}}, "field order.cash.raw: 'hello' is neither bytes nor base64"),
        ({"cash": {"raw": "a b="}}, "field order.cash.raw: 'a b=' is neither bytes nor base64"),
        ({"cash": {"raw": 5}}, "field order.cash.raw: 5 is no Protobuf bytes"),
        ({"cash": {"far": 10**400}, "x": 1}, "the Protobuf schema has no field order.x"),
        ({"cash": {"x": 1, 5: 2}}, "the Protobuf schema has no field order.cash.x, order.cash.5"),
        (5, "field order: 5 is no Protobuf shop.Order"),
    ],
)
def test_the_field_that_does_not_fit_is_named(bill: Any, value: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        order(bill, value)


@pytest.mark.parametrize("number", [1e39, -1e39, 3.4028236e38])
@pytest.mark.parametrize(
    ("value", "field"),
    [
        (lambda it: {"cash": {"weight": it}}, "cash.weight"),
        (lambda it: {"items": [{"more": [0.5, it]}]}, "items[0].more[1]"),
        (
            lambda it: {"by_name": {"a": {"bundle": {"cash": {"weight": it}}}}},
            "by_name['a'].bundle.cash.weight",
        ),
    ],
)
def test_a_number_that_a_float_has_not_is_refused(
    bill: Any, value: Any, field: str, number: float
) -> None:
    with pytest.raises(ValueError, match="is too large for a Protobuf float") as caught:
        order(bill, value(number))
    assert str(caught.value).startswith(f"field order.{field}: {number} ")


def test_what_is_infinite_on_purpose_is_written(bill: Any) -> None:
    given = [math.inf, -math.inf, 3.4028234e38]
    found = order(bill, {"cash": {"more": [*given, math.nan], "far": 1e39}})["cash"]
    assert found["more"][:2] == given[:2]
    assert found["more"][2] == pytest.approx(given[2])
    assert math.isnan(found["more"][3])
    assert found["far"] == 1e39


@pytest.mark.parametrize(
    ("value", "begin"),
    [
        (lambda it: it, ""),
        (lambda it: {"cash": {"bundle": it}}, "cash.bundle."),
        (lambda it: {"items": [{}, {"bundle": it}]}, "items[1].bundle."),
        (lambda it: {"items": ({"bundle": it},)}, "items[0].bundle."),
        (lambda it: {"by_number": {1: {}, 2: {"bundle": it}}}, "by_number[2].bundle."),
    ],
)
def test_two_members_of_a_oneof_are_refused(bill: Any, value: Any, begin: str) -> None:
    with pytest.raises(ValueError, match="only one of `oneof paid` can be written") as caught:
        order(bill, value({"card": "c", "cash": {"price": 1}}))
    assert f"fields order.{begin}card and order.{begin}cash:" in str(caught.value)
    order(bill, value({"card": "c", "cash": None}))


@pytest.mark.parametrize("text", ["-_-_AA==", "+/+/AA==", "+/+/AA"])
def test_json_has_text_for_bytes_and_for_keys(bill: Any, text: str) -> None:
    value = {
        "by_number": {"-7": {"raw": text}},
        "by_truth": {"true": text, "false": b"x"},
        "note": "n",
        "tags": None,
    }
    found = order(bill, value)
    raw = b"\xfb\xff\xbf\x00"
    assert found["by_number"][-7]["raw"] == raw
    assert found["by_truth"] == {True: raw, False: b"x"}
    assert found["note"] == "n"
    assert order(bill, found) == order(bill, {**found, "card": None})


def test_a_free_form_stays_one(bill: Any) -> None:
    free = {"a": [1, "x"], "number_value": 1, "string_value": "x"}
    found = bill.FromString(
        value_writer(bill, b"")({"order": {"free": free, "cash": {"raw": "AA"}}})
    )
    expected = Struct()
    expected.update(free)
    assert found.order.free.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


def test_what_is_no_value_of_the_type_is_refused(bill: Any) -> None:
    write = value_writer(bill, b"")
    with pytest.raises(ValueError, match=r"^5 is no Protobuf shop\.Bill$"):
        write(5)
    with pytest.raises(ValueError, match=r"google\.protobuf\.Struct is not shop\.Bill"):
        write(Struct())


def test_values_that_are_given_once_are_not_lost(bill: Any) -> None:
    assert order(bill, {"tags": iter(["a"])})["tags"] == ["a"]
    with pytest.raises(ValueError, match=r"field order\.tags: .* is no Protobuf repeated string"):
        order(bill, {"tags": iter(["a"]), "cash": {"raw": "AA"}})


def test_a_required_field_is_missed_by_a_value_error() -> None:
    old = class_named(compiled(Schema("PROTOBUF", OLD)), "")
    with pytest.raises(ValueError, match="missing required fields: id"):
        value_writer(old, b"")({})
    with pytest.raises(ValueError, match="no Protobuf message Old"):
        _reader(old)(b"\xff\xff")


def test_broken_bytes_are_a_value_error(bill: Any) -> None:
    with pytest.raises(ValueError, match=r"^the payload is no Protobuf message shop\.Bill: Error"):
        _reader(bill)(b"\xff\xff")


def test_any_bytes_are_refused_as_value_errors(bill: Any) -> None:
    rng = random.Random(7)
    read, data = _reader(bill), value_writer(bill, b"")({"order": {"card": "c", "tags": ["é"]}})
    for _ in range(2000):
        broken = bytearray(data)
        broken[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read(bytes(broken[: rng.randrange(len(data) + 1)]))
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"hello", "begins with byte 104 instead of 0"),
        (b"hello world", "begins with byte 104 instead of 0"),
        (b"\0\0", "too short for the schema registry's format: 2 bytes"),
        (b"", "too short for the schema registry's format: 0 bytes"),
        (b"\0\0\0\0\1", "the indexes of a Protobuf type are cut off"),
    ],
)
def test_what_is_not_from_a_registry_is_said_first(data: bytes, fault: str) -> None:
    with pytest.raises(NotInWireFormat, match=fault):
        _end_of_indexes(data)
