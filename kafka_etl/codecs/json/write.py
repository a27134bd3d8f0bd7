"""Values to JSON, including decimals and bytes, which other codecs decode and JSON lacks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, Final, Literal

import orjson

Decimals = Literal["text", "number"]
"""The JSON form of decimals: text, or a number with the same digits."""

_LONGEST: Final = 1_000
"""Largest number of digits written out; 1E+999999, a short text, would become a megabyte."""


@cache
def writer(decimals: Decimals) -> Callable[[Any], bytes]:
    """Return a function that encodes a value as JSON.

    The function raises `TypeError` for a value that has no JSON form.
    """
    other, dumps = _number_or_text if decimals == "number" else _text, orjson.dumps
    return lambda value: dumps(value, other)


def _text(value: Any) -> str:
    """Return the text of a value whose type orjson does not know."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    raise TypeError


def _number_or_text(value: Any) -> Any:
    return orjson.Fragment(decimal_text(value)) if isinstance(value, Decimal) else _text(value)


def decimal_text(value: Decimal) -> str:
    """Return a decimal as text with exactly its own digits: 12.50 keeps its zero.

    Raises:
        TypeError: The decimal is NaN or Infinity.
    """
    if not value.is_finite():
        raise TypeError(f"JSON has no {value}")
    return f"{value:f}" if abs(value.adjusted()) < _LONGEST else str(value)
