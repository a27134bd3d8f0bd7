"""Durations and sizes with units, as types for settings models; and times, as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import isclose
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SAME: Final = 1e-12
"""Of a quotient that should be whole, what floats leave over."""
_WHOLE_NUMBER: Final = re.compile(r"\s*\d{1,18}\s*")
_AGO: Final = re.compile(r"-\s*(?P<minus>\w[\w.]*)|(?P<ago>\w[\w.]*)\s+ago")
_BARE: Final = re.compile(r"\d[\d.]*(ms|us|s|m|h|d)")
_PATTERN: Final = r"^\s*\d+(\.\d+)?\s*({})\s*$"
"""Of the JSON Schema; the parsers are stricter."""
_NUMBER_AND_UNIT: Final = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]+)\s*")


def parse_duration(value: Any) -> float:
    """Seconds of "20ms", "5s", "1.5m", "2h"; a bare number is refused, except 0."""
    if not isinstance(value, bool) and value == 0:
        return 0.0
    return _parse(value, _SECONDS, "a duration with its unit, such as 20ms, 5s, 10m or 1h")


def parse_size(value: Any) -> int:
    """Bytes of "16MiB", "1MB", "512KiB", or of a whole number."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    return int(_parse(value, _BYTES, "a size with its unit, such as 16MiB, 1MB or 512KiB"))


def _parse(value: Any, units: dict[str, Any], wanted: str) -> float:
    match = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"should be {wanted}")
    return float(match[1]) * float(units[match[2]])


def show_duration(seconds: float) -> str:
    """The shortest exact text: 0.02 -> 20ms, 300 -> 5m."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        amount = seconds / _SECONDS[unit]
        if round(amount) and isclose(amount, round(amount), rel_tol=_SAME):
            return f"{round(amount)}{unit}"
    return f"{seconds:g}s"


def show_size(size: int) -> str:
    """The shortest exact text: 16777216 -> 16MiB, 1000 -> 1kB, 100 -> 100."""
    for unit in ("GiB", "MiB", "KiB", "GB", "MB", "kB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "title": "duration",
            "type": ["string", "integer"],
            "maximum": 0,
            "pattern": _PATTERN.format("|".join(_SECONDS)),
            "examples": ["20ms", "5s", "10m"],
        }
    ),
]
"""Seconds; written with a unit, or as 0."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "title": "size",
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": _PATTERN.format("|".join([*_BYTES, ""])),
            "examples": ["16MiB", "1MB"],
        }
    ),
]
"""Bytes; written with a unit, or as a whole number."""


def moment(text: str, now: datetime) -> tuple[int, str]:
    """A time in milliseconds since the epoch, and in ISO format.

    Args:
        text: A time in ISO format (UTC without a time zone), or a duration before `now`: `-2h`, or
            `2h ago`.
        now: The present time.

    Raises:
        ValueError: The text is none of these.
    """
    try:
        ago = _AGO.fullmatch(text.strip())
        if ago is not None:
            back = timedelta(seconds=parse_duration(ago["minus"] or ago["ago"]))
            return _in_ms(now - back)
        found = datetime.fromisoformat(text.strip())
        return _in_ms(found if found.tzinfo is not None else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        shown = text if len(text) <= len("2026-11-28T10:00:00.000+00:00") else f"{text:.20}…"
        near = f"did you mean `{text} ago`? " if _BARE.fullmatch(text) else ""
        raise ValueError(
            f"`{shown}` is no time; {near}write 2026-11-28, 2026-11-28T10:00 (UTC), or 2h ago"
        ) from None


def _in_ms(found: datetime) -> tuple[int, str]:
    ms = round(found.timestamp() * 1000)
    exact = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return ms, exact.replace("+00:00", "Z")
