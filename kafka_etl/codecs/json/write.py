"""Values to JSON: what other codecs read and JSON does not have, and how it is written."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, Final, Literal

import orjson

Decimals = Literal["text", "number"]
"""How decimals are written."""

_LONGEST: Final = 1_000
"""Digits that are spelled out: 1E+999999 is a short text, and would be a long one."""


@cache
def writer(decimals: Decimals) -> Callable[[Any], bytes]:
    """Writes values; raises TypeError for those that JSON has no form of."""
    other, dumps = _number_or_text if decimals == "number" else _text, orjson.dumps
    return lambda value: dumps(value, other)


def _text(value: Any) -> str:
    """Of what orjson does not know."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    raise TypeError


def _number_or_text(value: Any) -> Any:
    return orjson.Fragment(decimal_text(value)) if isinstance(value, Decimal) else _text(value)


def decimal_text(value: Decimal) -> str:
    """All digits of a decimal, and no more: 12.50 keeps its zero."""
    if not value.is_finite():
        raise TypeError(f"JSON has no {value}")
    return f"{value:f}" if abs(value.adjusted()) < _LONGEST else str(value)
