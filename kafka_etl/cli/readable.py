"""Records for people: bytes as text where they are text, else as hex."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from kafka_etl.record import Headers, SourceRecord, offset_of, partition_of

_FIRST_PRINTABLE: Final = 32
_CONTROLS: Final = range(0x7F, 0xA0)
_ALLOWED: Final = frozenset("\t\n\r")


def text_of(data: bytes | None) -> str | None:
    """Bytes as text; None where they are none: a control character would act on a terminal."""
    try:
        text = (data or b"").decode()
    except UnicodeDecodeError:
        return None
    bad = any(
        (ord(c) < _FIRST_PRINTABLE and c not in _ALLOWED) or ord(c) in _CONTROLS for c in text
    )
    return None if bad else text


def shown(data: bytes | None, limit: int = 0) -> str:
    """Bytes on a terminal, cut where a limit is given."""
    if data is None:
        return "(null)"
    text = text_of(data)
    whole = f"hex:{data.hex()}" if text is None else text.replace("\r", "\\r")
    if limit and len(whole) > limit:
        return f"{whole[:limit]}… ({len(data):,} bytes)"
    return whole


def data_of(name: str, data: bytes | None) -> dict[str, Any]:
    """Bytes as a part of a JSON object: JSON as it stands, text, or `NAME_hex`."""
    if data is None:
        return {name: None}
    text = text_of(data)
    return {name: text} if text is not None else {f"{name}_hex": data.hex()}


def value_of(data: bytes | None) -> dict[str, Any]:
    """A value as a part of a JSON object; JSON keeps its digits and its order."""
    if data is None:
        return {"value": None}
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return data_of("value", data)
    return {"value": orjson.Fragment(data.replace(b"\n", b" ").replace(b"\r", b" "))}


def headers_of(headers: Headers) -> list[dict[str, Any]]:
    return [{"name": name, **data_of("value", value)} for name, value in headers]


def as_json(record: SourceRecord) -> str:
    """A record on one line."""
    place = partition_of(record)
    parts = {
        "topic": place.topic,
        "partition": place.number,
        "offset": offset_of(record),
        "timestamp": time_of(record.timestamp()[1]),
        **data_of("key", record.key()),
        **value_of(record.value()),
        "headers": headers_of(record.headers() or []),
    }
    return orjson.dumps(parts).decode()


def as_text(record: SourceRecord) -> str:
    """A record for people: where, when, key; then headers; then the value."""
    at = f"{partition_of(record)}@{offset_of(record)}"
    lines = [f"{at}  {time_of(record.timestamp()[1])}  key {shown(record.key())}"]
    headers: Headers = record.headers() or []
    lines += [f"    {shown(name.encode())}: {shown(value)}" for name, value in headers]
    return "\n".join([*lines, indented(shown(record.value()))])


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))


def time_of(ms: int | None) -> str | None:
    """Milliseconds since the epoch as ISO 8601; None where there are none."""
    if ms is None or ms < 0:
        return None
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
