"""Reads dead letters of format `raw`, whose encoder is `kafka_etl.envelope`.

Anybody can write to a topic: nothing in a record is trusted, and what is missing stays empty.
"""

from __future__ import annotations

from typing import Final

from kafka_etl.dead_letters.document import as_object
from kafka_etl.dead_letters.letter import Place, StoredLetter
from kafka_etl.envelope import PREFIX, Encoded, Provenance, encode_raw
from kafka_etl.invocation import DeadLetter
from kafka_etl.record import SourceRecord, headers_of, offset_of, partition_of

_ANY_SIZE: Final = 2**31


def decode_raw(record: SourceRecord) -> StoredLetter | None:
    """The dead letter that a record of format `raw` is; None for any other record."""
    place = partition_of(record)
    return _decoded(
        Encoded(record.key(), record.value(), headers_of(record)),
        Place(place.topic, place.number, offset_of(record)),
        record.timestamp()[1],
    )


def stored(letter: DeadLetter, about: Provenance) -> StoredLetter:
    """The dead letter as its topic would have it."""
    encoded = encode_raw(letter, about, _ANY_SIZE)
    decoded = _decoded(encoded, Place("", -1, -1), letter.at_ms)
    if decoded is None:
        raise RuntimeError("what was encoded is a dead letter")
    return decoded


def _decoded(encoded: Encoded, at: Place, written_ms: int) -> StoredLetter | None:
    headers = encoded.headers
    ours = {
        name.removeprefix(PREFIX): value or b""
        for name, value in headers
        if name.startswith(PREFIX)
    }
    if "condition" not in ours:
        return None
    texts = {
        name: value.decode("utf-8", "replace") for name, value in ours.items() if name != "context"
    }
    return StoredLetter(
        at=at,
        source=Place(
            texts.get("topic", ""), _number(texts.get("partition")), _number(texts.get("offset"))
        ),
        written_ms=written_ms,
        pipeline=texts.get("pipeline", ""),
        operator=texts.get("operator", ""),
        condition=texts["condition"],
        error_type=texts.get("error.type", ""),
        error_text=texts.get("error.message", ""),
        fingerprint=texts.get("fingerprint", ""),
        attempts=max(0, _number(texts.get("attempts"))),
        record_ms=_number(texts.get("timestamp")),
        version=texts.get("operator.version", ""),
        key=encoded.key,
        value=encoded.value,
        headers=[(name, value) for name, value in headers if not name.startswith(PREFIX)],
        context=as_object(ours.get("context", b"")),
    )


def _number(text: str | None) -> int:
    """A number in a header; -1 where there is none."""
    try:
        return int(text or "")
    except ValueError:
        return -1
