"""Dead letters as they are read back from their topic, and the commonest causes of a run.

The encoder is `kafka_etl.envelope`. Anybody can write to a topic: nothing in a record is trusted,
and what is missing stays empty.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
import orjson

from kafka_etl.envelope import PREFIX, Encoded, Provenance, encode_raw, fingerprint
from kafka_etl.invocation import DeadLetter
from kafka_etl.record import Headers, SourceRecord, offset_of, partition_of

_ANY_SIZE: Final = 2**31

# Read back


class Place(msgspec.Struct, frozen=True):
    """Where a record is."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @property
    def id(self) -> str:
        """As one argument of a command."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class StoredLetter(msgspec.Struct, frozen=True):
    """A dead letter in its topic.

    Attributes:
        at: Where the dead letter is.
        source: Where the record is that failed.
        written_ms: When the dead letter was written.
        headers: Those of the record that failed.
        context: The whole invocation; empty where it was cut or is no JSON object.
    """

    at: Place
    source: Place
    written_ms: int
    pipeline: str
    operator: str
    condition: str
    error_type: str
    error_text: str
    fingerprint: str
    attempts: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    context: Mapping[str, Any]

    @property
    def error(self) -> str:
        return f"{self.error_type}: {self.error_text}"

    @property
    def traceback(self) -> str:
        """Traceback of the last attempt; empty: none, or cut."""
        error = self.context.get("error")
        found = cast("dict[str, Any]", error).get("traceback") if isinstance(error, dict) else ""
        return found if isinstance(found, str) else ""


def decode_raw(record: SourceRecord) -> StoredLetter | None:
    """The dead letter that a record of format `raw` is; None for any other record."""
    place = partition_of(record)
    return _decoded(
        Encoded(record.key(), record.value(), record.headers() or []),
        Place(place.topic, place.number, offset_of(record)),
        record.timestamp()[1],
    )


def decode_envelope(data: bytes, at: Place | None = None) -> StoredLetter | None:
    """The dead letter that a document of format `envelope` is; None for anything else.

    A success is no dead letter. Where a value was cut, `value` is None.

    Args:
        data: The message.
        at: Where the message is; None: not in Kafka.
    """
    document = _object(data)
    request = _member(document, "requestContext")
    condition = request.get("condition")
    if not isinstance(condition, str) or not condition:
        return None
    error, pipeline = _member(document, "error"), _member(document, "pipeline")
    record = _first_record(document.get("requestPayload"))
    return StoredLetter(
        at=at or Place("", -1, -1),
        source=Place(
            _string(record, "topic"), _integer(record, "partition"), _integer(record, "offset")
        ),
        written_ms=_integer(document, "timestamp"),
        pipeline=_string(pipeline, "name"),
        operator=_string(_member(document, "operator"), "name"),
        condition=condition,
        error_type=_string(error, "type"),
        error_text=_string(error, "message"),
        fingerprint=_string(error, "fingerprint"),
        attempts=max(0, _integer(request, "approximateInvokeCount")),
        key=_bytes(record.get("key"), record.get("keyEncoding")),
        value=_bytes(record.get("value"), record.get("valueEncoding")),
        headers=_headers_in(record.get("headers")),
        context=document,
    )


def _member(owner: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _object_in(owner.get(name))


def _string(owner: Mapping[str, Any], name: str) -> str:
    found = owner.get(name)
    return found if isinstance(found, str) else ""


def _integer(owner: Mapping[str, Any], name: str) -> int:
    found = owner.get(name)
    return found if type(found) is int else -1


def _first_record(payload: object) -> Mapping[str, Any]:
    try:
        found = orjson.loads(payload) if isinstance(payload, str) else None
    except orjson.JSONDecodeError:
        return {}
    return _object_in(next(iter(_entries(found)), None))


def _entries(found: object) -> Sequence[Any]:
    return cast("Sequence[Any]", found) if isinstance(found, list) else []


def _object_in(found: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _bytes(text: object, encoding: object) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text) if encoding == "base64" else text.encode()
    except ValueError:
        return None


def _headers_in(entries: object) -> Headers:
    headers: Headers = []
    for entry in _entries(entries):
        match entry:
            case [str() as name, value]:
                headers.append((name, _bytes(value, None)))
            case [str() as name, value, encoding]:
                headers.append((name, _bytes(value, encoding)))
            case _:
                pass
    return headers


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
        key=encoded.key,
        value=encoded.value,
        headers=[(name, value) for name, value in headers if not name.startswith(PREFIX)],
        context=_object(ours.get("context", b"")),
    )


def _number(text: str | None) -> int:
    """A number in a header; -1 where there is none."""
    try:
        return int(text or "")
    except ValueError:
        return -1


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


# Counted by cause

_CAUSES: Final = 50
_TEXT: Final = 200


class Cause(msgspec.Struct, frozen=True):
    """Dead letters of one fingerprint.

    Attributes:
        error: Type and start of the text of the first error, on one line.
        example: The source record of the first one.
    """

    fingerprint: str
    condition: str
    operator: str
    error: str
    example: Place
    count: int = 1

    def __str__(self) -> str:
        operator = f" in {self.operator}" if self.operator else ""
        return f"{self.count:,} {self.condition}{operator}: {self.error} (first: {self.example})"


class Causes:
    """How many dead letters there were of each cause; beyond 50 causes, no new one is noted."""

    def __init__(self) -> None:
        self._causes: dict[str, Cause] = {}

    def add(self, letter: DeadLetter) -> Cause | None:
        """Count a dead letter; returns its cause if the cause is new."""
        kind = fingerprint(letter)
        known = self._causes.get(kind)
        if known is not None:
            self._causes[kind] = msgspec.structs.replace(known, count=known.count + 1)
            return None
        if len(self._causes) >= _CAUSES:
            return None
        self._causes[kind] = _cause(letter, kind)
        return self._causes[kind]

    def include(self, causes: Iterable[Cause]) -> None:
        """Add the counts of another worker."""
        for cause in causes:
            known = self._causes.get(cause.fingerprint)
            if known is None:
                self._causes[cause.fingerprint] = cause
            else:
                self._causes[cause.fingerprint] = msgspec.structs.replace(
                    known, count=known.count + cause.count
                )

    def commonest(self) -> tuple[Cause, ...]:
        """All of them, the commonest first."""
        return tuple(sorted(self._causes.values(), key=lambda cause: -cause.count))


def _cause(letter: DeadLetter, kind: str) -> Cause:
    failure, place = letter.failure, partition_of(letter.record)
    return Cause(
        fingerprint=kind,
        condition=failure.condition.value,
        operator=failure.operator,
        error=_one_line(f"{failure.error.type}: {failure.error.message}"),
        example=Place(place.topic, place.number, offset_of(letter.record)),
    )


def _one_line(text: str) -> str:
    """The text on one line, without control characters."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 2 * _TEXT])
    line = " ".join(plain.split())
    return line if len(line) <= _TEXT else f"{line[:_TEXT]}…"
