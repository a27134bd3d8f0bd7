from __future__ import annotations

import pytest

from kafka_etl.codecs import BYTES, JSON, TEXT


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
