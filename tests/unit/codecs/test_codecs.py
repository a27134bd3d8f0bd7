from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pytest

from kafka_etl.codecs import BYTES, JSON, TEXT, of_class
from kafka_etl.codecs.json.codec import PLUGIN, JsonSettings
from kafka_etl.contracts import Codec, CodecContext
from tests.unit.engine.kit import chain_of, run


def test_bytes_are_nothing_but_bytes() -> None:
    data = b"\xff\x00"
    assert BYTES.decode(data) is data


def test_bytes_take_text_for_its_utf8() -> None:
    assert BYTES.encode("é") == b"\xc3\xa9"


@pytest.mark.parametrize("value", [{"a": 1}, 5, None, [b"a"]])
def test_bytes_refuse_values_and_say_what_to_do(value: object) -> None:
    with pytest.raises(TypeError, match=r"name a codec, for example `value: json`"):
        BYTES.encode(value)


def test_text_is_utf8_and_nothing_else() -> None:
    assert TEXT.decode(TEXT.encode("é😀\n")) == "é😀\n"
    with pytest.raises(UnicodeDecodeError):
        TEXT.decode(b"\xff")
    with pytest.raises(TypeError):
        TEXT.encode(b"bytes")


def test_json_is_compact_and_keeps_the_order_of_fields() -> None:
    assert JSON.encode({"b": 1, "a": [None, True, "é"]}) == '{"b":1,"a":[null,true,"é"]}'.encode()


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"1 2", b"\xff", b"{'a': 1}"])
def test_json_refuses_what_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):
        JSON.decode(data)


NUMBERS = PLUGIN.build(JsonSettings(decimal="number"), CodecContext("sink", "value"))


def in_columns(codec: Codec, value: Any, kind: Any) -> bytes:
    assert codec.table is not None
    (data,) = codec.table.encode(pa.table({"a": pa.array([value], kind)}))
    return data


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12.50", b"12.50"),
        ("-0.000000001", b"-0.000000001"),
        ("12345678901234567890123456.78", b"12345678901234567890123456.78"),
        ("0", b"0"),
    ],
)
def test_decimals_are_exact_as_text_or_as_numbers(value: str, text: bytes) -> None:
    decimal = Decimal(value)
    assert JSON.encode({"a": decimal}) == b'{"a":"%s"}' % text
    assert NUMBERS.encode({"a": decimal}) == b'{"a":%s}' % text
    scale = -int(decimal.as_tuple().exponent)
    for kind in (pa.decimal128(38, scale), pa.decimal256(60, scale)):
        assert in_columns(JSON, decimal, kind) == b'{"a":"%s"}' % text
        assert in_columns(NUMBERS, decimal, kind) == b'{"a":%s}' % text
        within = pa.list_(kind)
        assert in_columns(JSON, [decimal], within) == b'{"a":["%s"]}' % text


def test_bytes_are_base64() -> None:
    assert JSON.encode({"a": b"\xff"}) == b'{"a":"/w=="}'
    assert JSON.encode({"a": [bytearray(b"")]}) == b'{"a":[""]}'
    for kind in (pa.binary(), pa.large_binary(), pa.binary(1)):
        assert in_columns(JSON, b"\xff", kind) == b'{"a":"/w=="}'
        assert in_columns(JSON, None, kind) == b'{"a":null}'


@pytest.mark.parametrize("codec", [JSON, NUMBERS])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_json_has_no_decimal_that_is_no_number(codec: Codec, value: str) -> None:
    with pytest.raises(TypeError):
        codec.encode({"a": Decimal(value)})


def test_a_decimal_of_a_million_zeros_is_not_spelled_out() -> None:
    assert JSON.encode(Decimal("1E+999999")) == b'"1E+999999"'


def test_json_says_where_a_value_stands_that_it_has_no_form_of() -> None:
    value = {"a": [{"fine": b"x", "price": Decimal(1), "b": {1}}]}
    with pytest.raises(TypeError) as raised:
        JSON.encode(value)
    assert JSON.explain is not None
    said = str(JSON.explain(value, raised.value))
    assert "set" in said
    assert said.endswith("at a[0].b")


class Priced(msgspec.Struct):
    price: Decimal
    raw: bytes


@dataclass
class Plain:
    price: Decimal


def test_objects_of_a_class_write_decimals_the_same_way() -> None:
    assert of_class(JSON, Priced).encode(Priced(Decimal("1.50"), b"\xff")) == (
        b'{"price":"1.50","raw":"/w=="}'
    )
    assert of_class(NUMBERS, Priced).encode(Priced(Decimal("1.50"), b"\xff")) == (
        b'{"price":1.50,"raw":"/w=="}'
    )
    assert of_class(JSON, Plain).encode(Plain(Decimal("1.50"))) == b'{"price":"1.50"}'
    assert of_class(NUMBERS, Plain).encode(Plain(Decimal("1.50"))) == b'{"price":1.50}'


def test_times_that_python_does_not_have_are_numbers() -> None:
    far = 253_402_300_800_000
    assert in_columns(JSON, far, pa.timestamp("ms", "UTC")) == b'{"a":%d}' % far
    assert in_columns(JSON, 86_400_000, pa.time32("ms")) == b'{"a":86400000}'
    near = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    table = pa.table({"a": pa.array([far, near], pa.timestamp("ms", "UTC"))})
    assert JSON.table is not None
    values = [orjson.loads(data)["a"] for data in JSON.table.encode(table)]
    assert values == [far, "2026-01-02T00:00:00+00:00"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a":"\\ud800"}', r"at byte 6 has \ud800, half of a character of UTF-16"),
        (b'{"a":"\\ud83d\\ude00 \\\\ \\udc00x"}', r"at byte 22 has \udc00, half of"),
        (b'\xef\xbb\xbf{"a":1}', "the value begins with a byte order mark, which JSON"),
        (b"\xff\xfe{\x00}\x00", "the value begins with the byte order mark of UTF-16, and"),
        (b"", "the value is empty, which is no JSON"),
        (b'{"a":"\\\\ud800', "truncated"),
    ],
)
@pytest.mark.parametrize("takes", ["value", "object", "table"])
def test_what_is_wrong_with_json_is_said(data: bytes, said: str, takes: str) -> None:
    def of_value(value: Any) -> Any:
        return value

    def of_object(value: dict[str, Any]) -> Any:
        return value

    def of_table(table: pa.Table) -> pa.Table:
        return table

    taking = {"value": of_value, "object": of_object, "table": of_table}[takes]
    ran = run(chain_of(taking), data, b'{"a":1}')
    assert list(ran.failed) == [0]
    assert said in ran.failed[0] or (takes, said) == ("table", "truncated")


def test_objects_used_as_maps_do_not_grow_the_columns_without_end() -> None:
    """Records with new fields beyond a thousand are dead letters, and their neighbours are not."""

    def same(table: pa.Table) -> pa.Table:
        return table

    chain = chain_of(same)
    for batch in range(4):
        keys = [f"k{batch}-{number}" for number in range(400)]
        ran = run(chain, *({"id": 1, "by_key": {key: 1}} for key in keys), {"id": 2})
        assert {"id", "by_key"} == set(ran.values[-1])
        assert len(ran.values) == 401 - len(ran.failed)
        assert all("one of more than 1000" in said for said in ran.failed.values())
        assert 400 not in ran.failed
        assert bool(ran.failed) == (batch > 1)
