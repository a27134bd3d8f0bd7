"""A dead letter as a Kafka record: the original byte for byte, and everything about its failure.

A dead letter that is too large is cut in a fixed order, the traceback first and the payload last;
the context names the cuts. No dead letter is lost because of its size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson

from kafka_etl.envelope.families import CONNECT, PREFIX, parted
from kafka_etl.envelope.fingerprints import fingerprint_of
from kafka_etl.invocation import Condition, DeadLetter, Failure, printable
from kafka_etl.record import (
    Headers,
    SourceRecord,
    UnreadableHeaders,
    headers_of,
    offset_of,
    partition_of,
)

_FRAMING: Final = 128
_MESSAGE: Final = 2_000
_SHORT_MESSAGE: Final = 200
HISTORY: Final = 50
"""Earlier failures that a dead letter tells of."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which pipeline, code and process a dead letter comes from.

    Attributes:
        versions: Operator -> version.
    """

    pipeline: str
    config_hash: str
    group: str
    worker: str
    host: str
    pid: int
    kafka_etl: str
    python: str
    versions: Mapping[str, str]


class Encoded(msgspec.Struct, frozen=True):
    """Key, value and headers of a dead letter."""

    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        names = "".join([name for name, _ in self.headers])
        values = b"".join([value for _, value in self.headers if value])
        headers = len(names.encode()) + len(values) + 10 * len(self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers + _FRAMING


def encode_raw(
    letter: DeadLetter, about: Provenance, limit: int, *, connect: bool = False
) -> Encoded:
    """The dead letter in format `raw`, in at most `limit` bytes.

    The original key, value and headers unchanged; `kafka_etl.*` headers, all UTF-8 text; and
    `kafka_etl.context`, the whole invocation as JSON. Headers of an earlier failure, ours or those
    of another system's dead letter, are moved into the context's history: a record that fails again
    and again does not grow without bound.

    Args:
        letter: The dead letter.
        about: Where the dead letter comes from.
        limit: Bytes.
        connect: Whether Kafka Connect's headers stand beside ours.
    """
    headers = headers_of(letter.record)
    own, earlier = told_apart(letter.record, headers)
    record = letter.record
    draft = _Draft(
        letter,
        about,
        record.key(),
        record.value(),
        own,
        _connect_headers(letter, about) if connect else [],
        _context(letter, about, headers, earlier),
    )
    for cut in _CUTS:
        encoded = draft.encoded()
        if encoded.size <= limit:
            return encoded
        cut(draft)
    return draft.encoded()


@dataclass(slots=True)
class _Draft:
    """A dead letter on its way to its size.

    Attributes:
        headers: The record's own.
        connect: Kafka Connect's.
        context: The invocation.
    """

    letter: DeadLetter
    about: Provenance
    key: bytes | None
    value: bytes | None
    headers: Headers
    connect: Headers
    context: dict[str, Any]

    def encoded(self) -> Encoded:
        ours = _headers(self.letter, self.about, self.context)
        return Encoded(self.key, self.value, [*self.headers, *self.connect, *ours])

    def note(self, what: str, original: int, kept: int) -> None:
        """Name a cut in the context."""
        self.context["truncated"].append({"what": what, "original": original, "kept": kept})

    def shorten(self, name: str, keep: int) -> None:
        """Keep so many characters of a text of the error, from its begin and its end."""
        owner = self.context["error"]
        text: str = owner[name]
        if len(text) > keep:
            self.note(f"error.{name}", len(text), keep)
            half = keep // 2
            owner[name] = f"{text[:half]}\n...\n{text[-half:]}" if keep else ""

    def empty(self, owner: dict[str, Any], name: str) -> None:
        """Drop the entries of a list."""
        if owner[name]:
            self.note(name, len(owner[name]), 0)
            owner[name] = []


def told_apart(record: SourceRecord, headers: Headers) -> tuple[Headers, list[dict[str, Any]]]:
    """The record's own headers, and its earlier failures, oldest first.

    A record that was replayed brings its failures along beside its headers, as `earlier`.
    """
    own, earlier = parted(headers)
    return own, [*getattr(record, "earlier", ()), *earlier]


def fingerprint(letter: DeadLetter) -> str:
    """The fingerprint of a dead letter; see `fingerprint_of`."""
    return fingerprint_of_failure(letter.failure)


def fingerprint_of_failure(failure: Failure) -> str:
    """The fingerprint that the dead letter of this failure has, or would have."""
    error = failure.error
    return fingerprint_of(
        failure.condition.value, failure.operator, error.type, error.message, error.traceback
    )


def _headers(letter: DeadLetter, about: Provenance, context: dict[str, Any]) -> Headers:
    failure, record = letter.failure, letter.record
    place = partition_of(record)
    message = _MESSAGE if "message" in context["error"] else _SHORT_MESSAGE
    texts = {
        "topic": place.topic,
        "partition": place.number,
        "offset": offset_of(record),
        "timestamp": record.timestamp()[1],
        "pipeline": about.pipeline,
        "operator": failure.operator,
        "operator.version": about.versions.get(failure.operator, ""),
        "condition": failure.condition,
        "error.type": failure.error.type,
        "error.message": start_of(failure.error.message, message),
        "fingerprint": context["error"]["fingerprint"],
        "attempts": len(failure.attempts) + failure.deaths,
    }
    headers: Headers = [(PREFIX + name, str(text).encode()) for name, text in texts.items()]
    return [*headers, (PREFIX + "context", orjson.dumps(context))]


def _context(
    letter: DeadLetter, about: Provenance, headers: Headers, earlier: list[dict[str, Any]]
) -> dict[str, Any]:
    failure, record = letter.failure, letter.record
    place = partition_of(record)
    unreadable = headers.reason if isinstance(headers, UnreadableHeaders) else None
    traceparent = next((v for name, v in headers if name == "traceparent" and v), b"")
    return {
        "version": "1.0",
        "at_ms": letter.at_ms,
        "invocation": {
            "id": letter.invocation_id,
            "attempts": [
                {
                    "number": attempt.number,
                    "started_ms": attempt.started_ms,
                    "ended_ms": attempt.ended_ms,
                    "error": attempt.error[:_MESSAGE],
                }
                for attempt in failure.attempts
            ],
            "deaths": failure.deaths,
        },
        "source": {
            "topic": place.topic,
            "partition": place.number,
            "offset": offset_of(record),
            "timestamp_ms": record.timestamp()[1],
            "group": about.group,
            "key_bytes": None if (key := record.key()) is None else len(key),
            "value_bytes": None if (value := record.value()) is None else len(value),
            **({} if unreadable is None else {"headers_unreadable": printable(unreadable)}),
        },
        "pipeline": {"name": about.pipeline, "config_hash": about.config_hash},
        "operator": {
            "name": failure.operator,
            "version": about.versions.get(failure.operator, ""),
        },
        "worker": {
            "id": about.worker,
            "host": about.host,
            "pid": about.pid,
            "kafka_etl": about.kafka_etl,
            "python": about.python,
        },
        "error": {
            "condition": failure.condition,
            "type": failure.error.type,
            "message": failure.error.message,
            "traceback": failure.error.traceback,
            "causes": list(failure.error.causes),
            "fingerprint": fingerprint(letter),
        },
        "traceparent": printable(traceparent.decode("utf-8", "replace")),
        "history": earlier[-HISTORY:],
        "truncated": [],
    }


# Kafka Connect's headers

_STAGES: Final = {
    Condition.DECODE_ERROR: "VALUE_CONVERTER",
    Condition.ENCODE_ERROR: "TASK_PUT",
    Condition.RECORD_TOO_LARGE: "TASK_PUT",
    Condition.REFUSED: "TASK_PUT",
}
_STACKTRACE: Final = f"{CONNECT}exception.stacktrace"


def _connect_headers(letter: DeadLetter, about: Provenance) -> Headers:
    """The failure in the headers of Kafka Connect's dead letters, all UTF-8 text."""
    failure, error = letter.failure, letter.failure.error
    place = partition_of(letter.record)
    worker = about.worker.rpartition(".")[2]
    stacktrace = [f"{error.type}: {error.message}", error.traceback]
    stacktrace += [f"Caused by: {cause}" for cause in error.causes]
    texts = {
        "topic": place.topic,
        "partition": place.number,
        "offset": offset_of(letter.record),
        "connector.name": about.pipeline,
        "task.id": worker if worker.isdigit() else "0",
        "stage": _STAGES.get(failure.condition, "TRANSFORMATION"),
        "class.name": failure.operator or "kafka_etl",
        "exception.class.name": error.type,
        "exception.message": start_of(error.message, _MESSAGE),
        "exception.stacktrace": printable("\n".join(text for text in stacktrace if text)),
    }
    return [(CONNECT + name, str(text).encode()) for name, text in texts.items()]


# Cutting to size, in this order


def _drop_connect_stacktrace(draft: _Draft) -> None:
    """Drop the stack trace for Connect's readers: ours is in the context."""
    for name, text in draft.connect:
        if name == _STACKTRACE:
            draft.note("connect.stacktrace", len(text or b""), 0)
    draft.connect = [header for header in draft.connect if header[0] != _STACKTRACE]


def _shorten_traceback(draft: _Draft) -> None:
    draft.shorten("traceback", 8_192)


def _drop_traceback(draft: _Draft) -> None:
    draft.shorten("traceback", 0)


def _shorten_errors(draft: _Draft) -> None:
    context = draft.context
    draft.shorten("message", _MESSAGE)
    draft.empty(context["error"], "causes")
    attempts = context["invocation"]["attempts"]
    ends = [attempts[0], attempts[-1]] if attempts else []
    if len(attempts) > len(ends):
        draft.note("invocation.attempts", len(attempts), len(ends))
        context["invocation"]["attempts"] = ends


def _drop_history(draft: _Draft) -> None:
    draft.empty(draft.context, "history")


def _drop_connect(draft: _Draft) -> None:
    """Drop the rest for Connect's readers: the payload is worth more."""
    if draft.connect:
        draft.note("connect", len(draft.connect), 0)
        draft.connect = []


def _refer_to_value(draft: _Draft) -> None:
    """Replace the payload, the last part to be cut, by a reference to the source record."""
    if draft.value is None:
        return
    digest = hashlib.sha256(draft.value).hexdigest()
    source = {name: draft.context["source"][name] for name in ("topic", "partition", "offset")}
    contents = {**source, "bytes": len(draft.value), "sha256": digest}
    reference = orjson.dumps({"reference": contents})
    if len(draft.value) <= len(reference):
        return  # something else is too large
    draft.note("value", len(draft.value), 0)
    draft.value = reference


def _drop_headers(draft: _Draft) -> None:
    draft.note("headers", len(draft.headers), 0)
    draft.headers = []


def _drop_key(draft: _Draft) -> None:
    if draft.key is None or len(draft.key) <= _MESSAGE:
        return
    draft.note("key", len(draft.key), 0)
    draft.key = hashlib.sha256(draft.key).hexdigest().encode()


def _drop_context(draft: _Draft) -> None:
    """Drop the context; the `kafka_etl.*` headers beside the context stay."""
    context = draft.context
    error = {"fingerprint": context["error"]["fingerprint"]}
    truncated = [cut["what"] for cut in context["truncated"]]
    context.clear()
    context.update({"version": "1.0", "error": error, "truncated": [*truncated, "context"]})


_CUTS: Final = (
    _drop_connect_stacktrace,
    _shorten_traceback,
    _drop_traceback,
    _shorten_errors,
    _drop_history,
    _drop_connect,
    _refer_to_value,
    _drop_headers,
    _drop_key,
    _drop_context,
)


def start_of(text: str, size: int) -> str:
    """As much of `text` from its start as takes at most `size` bytes."""
    return printable(text).encode()[:size].decode("utf-8", "ignore")
