"""Reads dead letters of format `envelope`: one JSON document each.

Anybody can write such a document: nothing in it is trusted, and what is missing stays empty.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from kafka_etl.dead_letters.letter import Place, StoredLetter
from kafka_etl.record import Headers


def decode_envelope(data: bytes, at: Place | None = None) -> StoredLetter | None:
    """The dead letter that a document of format `envelope` is; None for anything else.

    A success is no dead letter. Where a value was cut, `value` is None.

    Args:
        data: The message.
        at: Where the message is; None: not in Kafka.
    """
    document = as_object(data)
    request = _member(document, "requestContext")
    condition = request.get("condition")
    if not isinstance(condition, str) or not condition:
        return None
    error, pipeline = _member(document, "error"), _member(document, "pipeline")
    record = first_record(document.get("requestPayload"))
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
        record_ms=_integer(record, "timestamp"),
        version=_string(_member(document, "operator"), "version"),
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


def first_record(payload: object) -> Mapping[str, Any]:
    """The first record in a document's `requestPayload`; empty where there is none."""
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


def as_object(data: bytes) -> Mapping[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return _object_in(found)
