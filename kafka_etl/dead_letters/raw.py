"""Reads dead letters of format `raw`, whose encoder is `kafka_etl.envelope`.

Anybody can write to a topic: nothing in a record is trusted, and what is missing stays empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from kafka_etl.dead_letters.document import as_object
from kafka_etl.dead_letters.letter import Place, StoredLetter, told_number
from kafka_etl.envelope import PREFIX, Encoded, Provenance, encode_raw, taken_apart, told
from kafka_etl.invocation import DeadLetter
from kafka_etl.record import SourceRecord, headers_of, offset_of, partition_of

_ANY_SIZE: Final = 2**31
_MARK: Final = f"{PREFIX}condition"


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
    if all(name != _MARK for name, _ in encoded.headers):
        return None
    own, ours, foreign = taken_apart(encoded.headers)
    texts = {
        name: value.decode("utf-8", "replace") for name, value in ours.items() if name != "context"
    }
    return StoredLetter(
        at=at,
        source=Place(
            texts.get("topic", ""),
            told_number(texts.get("partition")),
            told_number(texts.get("offset")),
        ),
        written_ms=written_ms,
        pipeline=texts.get("pipeline", ""),
        operator=texts.get("operator", ""),
        condition=texts["condition"],
        error_type=texts.get("error.type", ""),
        error_text=texts.get("error.message", ""),
        fingerprint=texts.get("fingerprint", ""),
        attempts=max(0, told_number(texts.get("attempts"))),
        record_ms=told_number(texts.get("timestamp")),
        version=texts.get("operator.version", ""),
        key=encoded.key,
        value=encoded.value,
        headers=own,
        context=_with_failures(as_object(ours.get("context", b"")), told(foreign)),
    )


def _with_failures(
    context: Mapping[str, Any], elsewhere: list[dict[str, Any]]
) -> Mapping[str, Any]:
    """The context with the failures in other systems that headers beside ours tell."""
    if not elsewhere:
        return context
    history: object = context.get("history")
    earlier = cast("Sequence[Any]", history) if isinstance(history, list) else ()
    return {**context, "history": [*earlier, *elsewhere]}
