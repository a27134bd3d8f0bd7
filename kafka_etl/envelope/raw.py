"""A dead letter as a Kafka record: the original byte for byte, and everything about its failure.

A dead letter that is too large is cut in a fixed order, the traceback first and the payload last;
the context names the cuts. No dead letter is lost because of its size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson
from msgspec.structs import replace

from kafka_etl.envelope.fingerprints import fingerprint_of
from kafka_etl.invocation import DeadLetter, Failure, printable
from kafka_etl.record import (
    Headers,
    UnreadableHeaders,
    headers_of,
    offset_of,
    partition_of,
)

PREFIX: Final = "kafka_etl."


@dataclass(frozen=True, slots=True)
class Family:
    """How another system marks its dead letters.

    Attributes:
        name: How we call the system.
        prefixes: What its headers begin with.
        marks: Headers that each of its dead letters has. A record without one of them is none:
            headers that only look alike are the application's own.
    """

    name: str
    prefixes: tuple[str, ...]
    marks: frozenset[str]


def _family(name: str, marks: str, prefix: str) -> Family:
    return Family(name, (prefix,), frozenset(prefix + mark for mark in marks.split()))


FOREIGN: Final = (
    _family("connect", "topic partition offset connector.name stage", "__connect.errors."),
    _family("streams", "topic partition offset exception", "__streams.errors."),
    _family("share_group", "topic partition offset", "__dlq.errors."),
    _family("spring_kafka", "original-topic original-partition original-offset", "kafka_dlt-"),
    Family(
        "spring_cloud_stream",
        ("x-original-", "x-exception-"),
        frozenset(
            [
                *("x-original-topic", "x-original-partition", "x-original-offset"),
                *("x-exception-fqcn", "x-exception-message"),
            ]
        ),
    ),
    _family("smallrye", "topic partition offset reason", "dead-letter-"),
)
"""Families of dead letters of other systems."""

_FRAMING: Final = 128
_MESSAGE: Final = 2_000
_SHORT_MESSAGE: Final = 200
_HISTORY: Final = 10
_JAVA_NUMBERS: Final = (4, 8)


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


def encode_raw(letter: DeadLetter, about: Provenance, limit: int) -> Encoded:
    """The dead letter in format `raw`, in at most `limit` bytes.

    The original key, value and headers unchanged; `kafka_etl.*` headers, all UTF-8 text; and
    `kafka_etl.context`, the whole invocation as JSON. Headers of an earlier failure, ours or those
    of another system's dead letter, are moved into the context's history: a record that fails again
    and again does not grow without bound.
    """
    headers = headers_of(letter.record)
    own, earlier = parted(headers)
    context = _context(letter, about, headers, earlier)
    encoded = Encoded(letter.record.key(), letter.record.value(), own)
    for cut in _CUTS:
        attempt = _complete(encoded, letter, about, context)
        if attempt.size <= limit:
            return attempt
        encoded = cut(encoded, context)
    return _complete(encoded, letter, about, context)


def _complete(
    encoded: Encoded, letter: DeadLetter, about: Provenance, context: dict[str, Any]
) -> Encoded:
    headers = encoded.headers + _headers(letter, about, context)
    return Encoded(encoded.key, encoded.value, headers)


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
        "history": earlier[-_HISTORY:],
        "truncated": [],
    }


# Earlier failures


def parted(headers: Headers) -> tuple[Headers, list[dict[str, Any]]]:
    """The record's own headers, and the histories in dead-letter headers, oldest first."""
    own: Headers = []
    ours: dict[str, bytes] = {}
    foreign: dict[str, dict[str, Any]] = {}
    names = {name for name, _ in headers}
    families = {
        prefix: family.name
        for family in FOREIGN
        if family.marks <= names
        for prefix in family.prefixes
    }
    for name, value in headers:
        family = next((f for prefix, f in families.items() if name.startswith(prefix)), None)
        if name.startswith(PREFIX):
            ours[name.removeprefix(PREFIX)] = value or b""
        elif family is None:
            own.append((name, value))
        else:
            texts = foreign.setdefault(family, {})
            texts[name] = _beside(texts[name], value) if name in texts else _readable(value)
    told = [{"family": family, "headers": texts} for family, texts in foreign.items()]
    return own, [*told, *_our_history(ours)]


def _beside(held: str | list[str], value: bytes | None) -> list[str]:
    """A header that is there several times has a list of texts."""
    return [*([held] if isinstance(held, str) else held), _readable(value)]


def _our_history(ours: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
    if not ours:
        return
    history, at_ms = _carried_on(ours.get("context", b""))
    yield from history
    names = ("topic", "partition", "offset", "pipeline", "operator", "condition")
    texts = {name: _readable(ours[name]) for name in names if name in ours}
    error = f"{_readable(ours.get('error.type'))}: {_readable(ours.get('error.message'))}"
    yield {"family": "kafka_etl", "at_ms": at_ms, **texts, "error": error[:_MESSAGE]}


def _carried_on(context: bytes) -> tuple[list[Any], int | None]:
    """History and time of an earlier context. Anybody can write such a header: trust nothing."""
    try:
        earlier = orjson.loads(context)
        history: list[Any] = [entry for entry in earlier["history"] if isinstance(entry, dict)]
        orjson.dumps([[history]])  # what is too deep to be written again is not carried on
        at_ms = earlier["at_ms"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return [], None
    return history, at_ms if isinstance(at_ms, int) else None


def _readable(value: bytes | None) -> str:
    """A header as text; Java systems write numbers as four or eight bytes."""
    if value is None:
        return ""
    try:
        text = value.decode()
        if text.isprintable() or "\n" in text:
            return text
    except UnicodeDecodeError:
        pass
    if len(value) in _JAVA_NUMBERS:
        return str(int.from_bytes(value, "big", signed=True))
    return "hex:" + value.hex()


# Cutting to size, in this order


def _shorten_traceback(encoded: Encoded, context: dict[str, Any]) -> Encoded:
    _cut_text(context, context["error"], "traceback", 8_192)
    return encoded


def _drop_traceback(encoded: Encoded, context: dict[str, Any]) -> Encoded:
    _cut_text(context, context["error"], "traceback", 0)
    return encoded


def _shorten_errors(encoded: Encoded, context: dict[str, Any]) -> Encoded:
    _cut_text(context, context["error"], "message", _MESSAGE)
    _cut_list(context, context["error"], "causes", 0)
    attempts = context["invocation"]["attempts"]
    ends = [attempts[0], attempts[-1]] if attempts else []
    if len(attempts) > len(ends):
        _said(context, "invocation.attempts", len(attempts), len(ends))
        context["invocation"]["attempts"] = ends
    return encoded


def _drop_history(encoded: Encoded, context: dict[str, Any]) -> Encoded:
    _cut_list(context, context, "history", 0)
    return encoded


def _refer_to_value(encoded: Encoded, context: dict[str, Any]) -> Encoded:
    """Replace the payload, the last part to be cut, by a reference to the source record."""
    if encoded.value is None:
        return encoded
    digest = hashlib.sha256(encoded.value).hexdigest()
    source = {name: context["source"][name] for name in ("topic", "partition", "offset")}
    contents = {**source, "bytes": len(encoded.value), "sha256": digest}
    reference = orjson.dumps({"reference": contents})
    if len(encoded.value) <= len(reference):
        return encoded  # something else is too large
    _said(context, "value", len(encoded.value), 0)
    return replace(encoded, value=reference)


def _drop_headers(encoded: Encoded, context: dict[str, Any]) -> Encoded:
    _said(context, "headers", len(encoded.headers), 0)
    return replace(encoded, headers=[])


def _drop_key(encoded: Encoded, context: dict[str, Any]) -> Encoded:
    if encoded.key is None or len(encoded.key) <= _MESSAGE:
        return encoded
    _said(context, "key", len(encoded.key), 0)
    return replace(encoded, key=hashlib.sha256(encoded.key).hexdigest().encode())


def _drop_context(encoded: Encoded, context: dict[str, Any]) -> Encoded:
    """Drop the context; the `kafka_etl.*` headers beside the context stay."""
    error = {"fingerprint": context["error"]["fingerprint"]}
    truncated = [cut["what"] for cut in context["truncated"]]
    context.clear()
    context.update({"version": "1.0", "error": error, "truncated": [*truncated, "context"]})
    return encoded


_CUTS: Final = (
    _shorten_traceback,
    _drop_traceback,
    _shorten_errors,
    _drop_history,
    _refer_to_value,
    _drop_headers,
    _drop_key,
    _drop_context,
)


def start_of(text: str, size: int) -> str:
    """As much of `text` from its start as takes at most `size` bytes."""
    return printable(text).encode()[:size].decode("utf-8", "ignore")


def _cut_text(context: dict[str, Any], owner: dict[str, Any], name: str, keep: int) -> None:
    text: str = owner[name]
    if len(text) > keep:
        _said(context, f"error.{name}", len(text), keep)
        half = keep // 2
        owner[name] = f"{text[:half]}\n...\n{text[-half:]}" if keep else ""


def _cut_list(context: dict[str, Any], owner: dict[str, Any], name: str, keep: int) -> None:
    entries: list[Any] = owner[name]
    if len(entries) > keep:
        _said(context, name, len(entries), keep)
        owner[name] = entries[:keep]


def _said(context: dict[str, Any], what: str, original: int, kept: int) -> None:
    context["truncated"].append({"what": what, "original": original, "kept": kept})
