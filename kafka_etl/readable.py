"""Renders records for people and as JSON: bytes as text if they are text, else as hex."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from kafka_etl.record import Headers, SourceRecord, offset_of, partition_of

_FIRST_PRINTABLE: Final = 32
_CONTROLS: Final = range(0x7F, 0xA0)
_ALLOWED: Final = frozenset("\t\n\r")


def text_of(data: bytes | None) -> str | None:
    """Decode bytes as UTF-8 text; None: the bytes are no text, or hold control characters.

    Control characters are refused, except tab and line ends, since they would act on a terminal.
    """
    try:
        text = (data or b"").decode()
    except UnicodeDecodeError:
        return None
    bad = any(
        (ord(c) < _FIRST_PRINTABLE and c not in _ALLOWED) or ord(c) in _CONTROLS for c in text
    )
    return None if bad else text


def shown(data: bytes | None, limit: int = 0) -> str:
    """Render bytes for a terminal, as text or hex.

    Args:
        data: The bytes; None is shown as `(null)`.
        limit: The most characters to show; 0: no limit.
    """
    if data is None:
        return "(null)"
    text = text_of(data)
    whole = f"hex:{data.hex()}" if text is None else text.replace("\r", "\\r")
    if limit and len(whole) > limit:
        return f"{whole[:limit]}… ({len(data):,} bytes)"
    return whole


def counted(number: int, what: str) -> str:
    """A number of things: `1 dead letter`, `2,000 dead letters`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def plain(text: str) -> str:
    """Text that anybody may have written, without control characters."""
    return shown(text.encode("utf-8", "replace"))


def data_of(name: str, data: bytes | None) -> dict[str, Any]:
    """Return bytes as one entry of a JSON object: `NAME` with text, or `NAME_hex` with hex."""
    if data is None:
        return {name: None}
    text = text_of(data)
    return {name: text} if text is not None else {f"{name}_hex": data.hex()}


def value_of(data: bytes | None) -> dict[str, Any]:
    """Return a value as one entry of a JSON object; a JSON value is embedded unchanged.

    An embedded value keeps its digits and the order of its keys; only line ends become spaces.
    """
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
    """Render a record as JSON on one line."""
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
    """Render a record for people: a line with place, time and key; then headers; then the value."""
    at = f"{partition_of(record)}@{offset_of(record)}"
    lines = [f"{at}  {time_of(record.timestamp()[1])}  key {shown(record.key())}"]
    headers: Headers = record.headers() or []
    lines += [f"    {shown(name.encode())}: {shown(value)}" for name, value in headers]
    return "\n".join([*lines, indented(shown(record.value()))])


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))


def time_of(ms: int | None) -> str | None:
    """Render milliseconds since the epoch as ISO 8601 in UTC; None for None or a negative number.

    A number beyond the years of Python's `datetime` is rendered as the number itself.
    """
    if ms is None or ms < 0:
        return None
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
