"""Cut parts of a dead letter's record: the operators are given again what they were given."""

from __future__ import annotations

import pytest

from kafka_etl.dead_letters import StoredLetter
from kafka_etl.dead_letters.cuts import cut_parts, restored
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.replayed import ReplayedRecord
from kafka_etl.envelope import Encoded, encode_failure
from kafka_etl.record import Headers, Record, SourceRecord
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_dead_letters import in_topic
from tests.unit.dead_letters.test_envelope import ABOUT, encode, letter

HEADERS: Headers = [("a", b"\xff"), ("a", None), ("kafka", b"1")]
LARGE = b"\xff" * 50_000


def parts(record: SourceRecord) -> tuple[object, ...]:
    return (
        record.key(),
        record.value(),
        record.headers(),
        record.timestamp(),
        (record.topic(), record.partition(), record.offset()),
    )


def raw(limit: int = 10**6, value: bytes | None = b"v", key: bytes = b"k") -> StoredLetter:
    found = decode_letter(in_topic(encode(letter(value, key, HEADERS), limit)))
    assert found is not None
    return found


def document(limit: int = 10**6, value: bytes = b"v") -> StoredLetter:
    data = encode_failure(letter(value, b"k", HEADERS), ABOUT, limit)
    found = decode_letter(in_topic(Encoded(b"k", data, [])))
    assert found is not None
    return found


def original(value: bytes | None = b"v", key: bytes = b"k", at_ms: int = 1_700) -> SourceRecord:
    return StoredRecord(
        value, key, HEADERS, timestamp_ms=at_ms, topic="orders", partition=3, offset=42
    )


@pytest.mark.parametrize("stored", [raw(), document(), raw(value=None)])
def test_the_record_is_the_one_that_failed(stored: StoredLetter) -> None:
    assert not cut_parts(stored)
    made = ReplayedRecord(stored, stored.source)
    assert parts(made) == parts(original(stored.value))
    assert Record.of(made, 1).topic == "orders"


@pytest.mark.parametrize(
    ("stored", "value", "cut"),
    [
        (raw(5_000, LARGE), LARGE, {"value"}),
        (document(5_000, LARGE), LARGE, {"value"}),
        (document(1, LARGE), LARGE, {"key", "value", "headers"}),
        (raw(1), b"v", {"headers"}),
    ],
)
def test_parts_that_were_cut_come_from_the_source(
    stored: StoredLetter, value: bytes, cut: set[str]
) -> None:
    assert set(cut_parts(stored)) == cut
    made = restored(stored, original(value))
    assert made is not None
    assert parts(ReplayedRecord(made, made.source)) == parts(original(value))


def test_a_long_key_is_known_by_its_digest() -> None:
    stored = raw(1, b"v", b"k" * 5_000)
    assert set(cut_parts(stored)) == {"key", "headers"}
    assert restored(stored, original(b"v", b"k" * 5_000)) is not None
    assert restored(stored, original(b"v", b"K" * 5_000)) is None


@pytest.mark.parametrize(
    "other",
    [original(LARGE + b"x"), original(LARGE, b"other"), original(LARGE, at_ms=1_701)],
)
def test_another_record_at_the_place_is_refused(other: SourceRecord) -> None:
    assert restored(raw(5_000, LARGE), other) is None


def test_a_value_that_looks_like_a_reference_is_a_value() -> None:
    stored = raw(value=b'{"reference": {"sha256": "' + b"0" * 64 + b'"}}')
    assert not cut_parts(stored)
