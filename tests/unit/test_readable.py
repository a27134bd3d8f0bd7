"""Bytes for people: text where they are text, and never what a terminal would act on."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import typer

from kafka_etl.cli.cluster import is_file
from kafka_etl.cli.dlq.finding import Wanted, parse_id
from kafka_etl.cli.dlq.rendering import as_json as letter_as_json
from kafka_etl.cli.dlq.rendering import brief
from kafka_etl.cli.topics.send import Line
from kafka_etl.dead_letters import StoredLetter
from kafka_etl.dead_letters.raw import decode_raw
from kafka_etl.readable import as_json, as_text, shown, time_of, value_of
from kafka_etl.testing import StoredRecord
from tests.kit.pages import blocks
from tests.unit.dead_letters.test_dead_letters import in_topic
from tests.unit.dead_letters.test_envelope import encode, letter


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "(null)"),
        (b"", ""),
        ("größe\u00a0\u4e2d".encode(), "größe\u00a0\u4e2d"),
        (b"a\tb\nc\r", "a\tb\nc\\r"),
        (b"\x1b[2J", "hex:1b5b324a"),
        ("\u009b2J".encode(), "hex:c29b324a"),
        (b"\xff", "hex:ff"),
    ],
)
def test_bytes(data: bytes | None, text: str) -> None:
    assert shown(data) == text


def test_a_long_value_is_cut_and_says_so() -> None:
    assert shown(b"x" * 5000, 10) == "xxxxxxxxxx… (5,000 bytes)"


def test_a_record_as_json_keeps_the_digits_of_its_value() -> None:
    value = b'{"id": 123456789012345678901234567890,\n "x": 1.10}'
    record = StoredRecord(value, b"k", [("h", b"\xff"), ("n", None)], timestamp_ms=0, offset=7)
    line = as_json(record)
    assert "\n" not in line
    assert '"id": 123456789012345678901234567890' in line
    assert "1.10" in line
    parsed = json.loads(line)
    assert (parsed["key"], parsed["offset"]) == ("k", 7)
    assert parsed["timestamp"] == "1970-01-01T00:00:00.000Z"
    assert parsed["headers"] == [{"name": "h", "value_hex": "ff"}, {"name": "n", "value": None}]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (None, {"value": None}),
        (b"plain", {"value": "plain"}),
        (b"NaN", {"value": "NaN"}),
        (b"\x00\x01", {"value_hex": "0001"}),
    ],
)
def test_values_that_are_no_json(value: bytes | None, parts: dict[str, object]) -> None:
    assert value_of(value) == parts


def test_a_record_as_text() -> None:
    record = StoredRecord(b"two\nlines", b"k", [("h\x1b", b"v")], timestamp_ms=0, topic="t")
    assert as_text(record).splitlines() == [
        "t[0]@0  1970-01-01T00:00:00.000Z  key k",
        "    hex:681b: v",
        "    two",
        "    lines",
    ]


def test_the_page_shows_records_as_tap_prints_them() -> None:
    """`kafka-etl tap` in docs/how-to/while-you-write.md."""
    block, _ = blocks("docs/how-to/while-you-write.md", "text")
    lines = block.splitlines()
    record = StoredRecord(
        lines[1].strip().encode(),
        b"c1",
        topic="orders",
        offset=7,
        timestamp_ms=int(datetime(2026, 11, 28, 10, tzinfo=UTC).timestamp() * 1000),
    )
    assert f"{'in':<4} {as_text(record)}".splitlines() == lines[:2]


@pytest.mark.parametrize("ms", [-1, None])
def test_no_time(ms: int | None) -> None:
    assert time_of(ms) is None


def test_a_time_beyond_the_calendar_is_a_number() -> None:
    assert time_of(2**62) == str(2**62)


# Dead letters


def stored() -> StoredLetter:
    read = decode_raw(in_topic(encode(letter(b"x" * 1000, headers=[("h", b"v")]))))
    assert read is not None
    return read


def test_a_dead_letter_in_brief() -> None:
    first, *rest = brief(stored(), "open").splitlines()
    assert first.startswith("dlq/2/17  1970-01-01T00:00:01.900Z  open  OperatorError in to_eur: ")
    assert "shop.NoRate: no rate for XAU" in first
    assert rest[0] == "    record  orders[3]@42, 3 attempts"
    assert rest[-1].endswith("… (1,000 bytes)")


def test_a_dead_letter_as_json() -> None:
    parsed = json.loads(letter_as_json(stored(), "open"))
    assert parsed["id"] == "dlq/2/17"
    assert parsed["source"] == {"topic": "orders", "partition": 3, "offset": 42}
    assert parsed["context"]["invocation"]["attempts"][0]["number"] == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("orders.dlq/2/17", Wanted("orders.dlq", 2, 17)),
        ("orders[3]@42", Wanted("orders", 3, 42)),
        ("2/17", Wanted(None, 2, 17)),
        ("17", Wanted(None, None, 17)),
    ],
)
def test_ids(text: str, wanted: Wanted) -> None:
    assert parse_id(text) == wanted


@pytest.mark.parametrize("text", ["", "-17", "a/b/c", "orders/1", "orders[1]", "a b/1/2", "9" * 20])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_id(text)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Wanted("dlq", 2, 17), True),
        (Wanted("orders", 3, 42), True),
        (Wanted(None, 3, 42), True),
        (Wanted(None, None, 42), True),
        (Wanted("orders", 2, 17), False),
        (Wanted(None, 3, 17), False),
    ],
)
def test_an_id_is_of_a_letter_or_of_its_record(wanted: Wanted, names: bool) -> None:
    assert wanted.names(stored()) is names


# Lines


def test_lines_to_records() -> None:
    assert Line(None, b"k", None).parted(b"a\tb") == (b"k", b"a\tb")
    assert Line(b"\t", None, None).parted(b"a\tb\tc") == (b"a", b"b\tc")
    assert Line(b"\t", None, b"NULL").parted(b"a\tNULL") == (b"a", None)
    assert Line(b"\t", None, None).parted(b"a b") is None


@pytest.mark.parametrize("given", ["p.yaml", "./p", "folder/p.yml"])
def test_files_are_told_from_topics(given: str) -> None:
    assert is_file(given)
    assert not is_file("orders.dlq")
