"""Fit: whether the values of a column are what the target's column holds, before the target looks.

Nothing is changed on the way without a word: a value is passed on as it is, or as the same value in
the type that clients of databases take, or refused with an error that names the column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from types import NoneType
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
import orjson
from pydantic import BaseModel

from kafka_etl.contracts import Column, Kind
from kafka_etl.engine.rows.mapping import map_each

T = TypeVar("T")

Fitted = tuple[list[Any], Mapping[int, BaseException]]
"""Values for the target, and position -> error of the values that do not fit."""

_SHOWN: Final = 100
_EXACT: Final = 2**53
"""Whole numbers up to this one are exact as a float of 64 bits; below of 32."""
_EXACT_32: Final = 2**24
_LARGEST_32: Final = 3.4028235677973366e38
"""From here on a number is infinite as a float of 32 bits."""
_DECIMAL: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_EXACTLY: Final = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)
_NANOSECONDS: Final = re.compile(r"[.,]\d{7}", re.ASCII)
_NUL: Final = re.compile(rb"(?<!\\)(\\\\)*\\u0000")
_UUID: Final = re.compile(
    r"\{?[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?|urn:uuid:[0-9a-fA-F-]{36}"
)


def fit(column: Column, values: list[Any]) -> Fitted:
    """Check all values of a column: first their types at once, in C, then one by one if need be.

    Args:
        column: The target's column.
        values: One Python value for each row; None for null.
    """
    if not column.many and _is_plain(column, values):
        return values, {}
    one = _each_of(column) if column.many else _fit_of(column)
    fitted, failed = map_each(_nullable(column, one), len(values), values)
    return fitted, {at: _named(column, values[at], error) for at, error in failed}


def _is_plain(column: Column, values: list[Any]) -> bool:
    """Whether the whole column is of the expected type, and within the limits."""
    expected = _PLAIN.get(column.kind)
    if expected is None:
        return False
    kinds = set(map(type, values))
    if column.nullable:
        kinds.discard(NoneType)
    if not kinds or kinds != {expected}:
        return not kinds
    look = _QUICK.get(column.kind)
    if look is None:
        return True
    return look(column, [v for v in values if v is not None] if column.nullable else values)


_PLAIN: Final[Mapping[Kind, type]] = {
    Kind.BOOL: bool,
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.TEXT: str,
    Kind.TEXT_FORM: str,
    Kind.BYTES: bytes,
    Kind.UUID: UUID,
}
"""Kind -> the type that needs no look at single values, or only a quick one."""


def _are_ints(column: Column, values: Sequence[int]) -> bool:
    return not column.bits or _fits_int(column, min(values), max(values))


def _are_floats(column: Column, values: Sequence[float]) -> bool:
    return column.bits == 64 and math.isfinite(sum(values))  # noqa: PLR2004 - bits


def _fits_int(column: Column, least: int, most: int) -> bool:
    limit = 1 << (column.bits - 1)
    return -limit <= least and most < limit


def _is_plain_text(column: Column, values: Sequence[str]) -> bool:
    joined = "".join(values)
    if not column.nul and "\0" in joined:
        return False
    if not joined.isascii():
        try:
            joined.encode()
        except UnicodeEncodeError:
            return False
    return column.length is None or max(map(len, values)) <= column.length


_QUICK: Final[Mapping[Kind, Callable[[Column, Sequence[Any]], bool]]] = {
    Kind.INT: _are_ints,
    Kind.FLOAT: _are_floats,
    Kind.TEXT: _is_plain_text,
    Kind.TEXT_FORM: _is_plain_text,
}
"""Kind -> a quick look at all values of the right type; other kinds need none."""


def _nullable(column: Column, one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def fitting(value: Any) -> Any:
        if value is None:
            if column.nullable:
                return None
            hint = "; list `columns` to leave it to its default" if column.optional else ""
            raise ValueError(f"takes no null{hint}")
        return one(value)

    return fitting


def _named(column: Column, value: Any, error: BaseException) -> BaseException:
    """The error with the column, its kind and the start of the value in its text."""
    said = str(error) or type(error).__name__
    kind = column.type_name or column.kind.value
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - `__repr__` is user code
        shown = f"a {type(value).__name__}"
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
    text = f"column {column.name} ({kind}) {said}: {shown}"
    return TypeError(text) if isinstance(error, TypeError) else ValueError(text)


def _each_of(column: Column) -> Callable[[Any], Any]:
    one = _fit_of(column)

    def each(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise TypeError("holds a list")
        items = cast("Sequence[Any]", value)
        return [None if item is None else one(item) for item in items]

    return each


def _fit_of(column: Column) -> Callable[[Any], Any]:
    """The function that fits one value, which is not null."""
    kind = column.kind
    if kind is Kind.INT:
        return lambda value: _int(value, column)
    if kind is Kind.FLOAT:
        return lambda value: _float(value, column.bits)
    if kind is Kind.DECIMAL:
        return lambda value: _decimal(value, column)
    if kind in {Kind.TEXT, Kind.TEXT_FORM}:
        return lambda value: _text(value, column)
    if kind is Kind.JSON:
        return lambda value: _json(value, nul=column.nul)
    return _ONE[kind]


def _int(value: Any, column: Column) -> int:
    if type(value) is not int:
        raise TypeError(f"takes an int, not {_kind(value)}")
    if column.bits and not _fits_int(column, value, value):
        raise ValueError(f"has {column.bits} bits, which do not hold it")
    return value


def _float(value: Any, bits: int) -> float:
    if type(value) is int:
        if abs(value) > (_EXACT_32 if bits == 32 else _EXACT):  # noqa: PLR2004 - bits
            raise ValueError("would round it")
        value = float(value)
    if type(value) is not float:
        raise TypeError(f"takes a number, not {_kind(value)}")
    if not math.isfinite(value):
        raise ValueError("takes finite numbers")
    if bits == 32 and abs(value) >= _LARGEST_32:  # noqa: PLR2004 - bits
        raise ValueError("has 32 bits, which do not hold it")
    return value


def _decimal(value: Any, column: Column) -> Decimal:
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):  # Decimal() also takes blanks and underscores
            raise ValueError("takes decimal numbers")
        value = Decimal(value)
    if type(value) is int:
        value = Decimal(value)
    if not isinstance(value, Decimal):
        hint = "; give it as text, or round it in an expression" if type(value) is float else ""
        raise TypeError(f"takes a Decimal, an int or text, not {_kind(value)}{hint}")
    if not value.is_finite():
        raise ValueError("takes finite numbers")
    _check_digits(value, column)
    return _without_zeros(value, column.scale)


def _without_zeros(value: Decimal, scale: int | None) -> Decimal:
    """The same number without zeros beyond the scale: with them Arrow may have no room for it."""
    exponent = value.as_tuple().exponent
    if scale is None or not isinstance(exponent, int) or exponent >= -scale:
        return value
    return value.quantize(Decimal((0, (1,), -scale)), context=_EXACTLY)


def _check_digits(value: Decimal, column: Column) -> None:
    digits = "".join(map(str, value.as_tuple().digits)).rstrip("0")
    behind = len(digits) - value.adjusted() - 1 if digits else 0
    if column.scale is not None and behind > column.scale:
        raise ValueError(f"has {column.scale} digits behind the point and would round it")
    if column.precision is not None:
        if column.scale is None and len(digits) > column.precision:
            raise ValueError(f"has {column.precision} digits and would round it")
        room = column.precision - (column.scale or 0)
        if value and value.adjusted() + 1 > room:
            raise ValueError(f"has {room} digits before the point, which do not hold it")


def _text(value: Any, column: Column) -> str:
    if column.kind is Kind.TEXT_FORM:
        value = _text_form(value)
    if not isinstance(value, str):
        raise TypeError(f"takes text, not {_kind(value)}")
    text = str.__str__(value)
    _check_text(text, nul=column.nul)
    if column.length is not None and len(text) > column.length:
        raise ValueError(f"holds {column.length:,} characters, not {len(text):,}")
    return text


def _text_form(value: Any) -> Any:
    """The text of a time, a decimal or a UUID, of which there is one form; others as they are."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal) and not value.is_finite():
        raise ValueError("takes finite numbers")
    return str(value) if isinstance(value, Decimal | UUID) else value


def _check_text(text: str, *, nul: bool) -> None:
    if not nul and "\0" in text:
        raise ValueError("holds no text with a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds UTF-8, and this text is none") from None


def _json(value: Any, *, nul: bool) -> str:
    try:
        encoded = orjson.dumps(_plain(value))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise ValueError(f"takes JSON ({error})") from None
    if not nul and _NUL.search(encoded):
        raise ValueError("holds no text with a NUL")
    return encoded.decode()


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each class of values
    """Data that JSON has, of objects with fields, at any depth.

    Raises:
        TypeError: JSON has no such value, or would hold another one.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError("JSON has no NaN or Infinity")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        items: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {name: _plain(one) for name, one in items.items()}
    if isinstance(value, list | tuple):
        entries = cast("Sequence[Any]", value)
        return [_plain(one) for one in entries]
    if isinstance(value, BaseModel):
        return _plain(dict(value))
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime | date | time | UUID):
        return value if isinstance(value, UUID) else value.isoformat()
    raise TypeError(f"JSON has no {type(value).__name__}; make it text, or a number")


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"takes true or false, not {_kind(value)}")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"takes bytes, not {_kind(value)}")
    return bytes(cast("bytes", value))


def _date(value: Any) -> date:
    if type(value) is date:
        return value
    if isinstance(value, str):
        return _parsed(date.fromisoformat, value)
    raise TypeError(f"takes a date, not {_kind(value)}")


def _time(value: Any) -> time:
    found = _parsed(time.fromisoformat, value) if isinstance(value, str) else value
    if not isinstance(found, time):
        raise TypeError(f"takes a time, not {_kind(value)}")
    if found.tzinfo is not None:
        raise ValueError("takes a time without a zone")
    return found


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise TypeError(f"takes a date and time, not {_kind(value)}")
    return _parsed(datetime.fromisoformat, value)


def _parsed(parse: Callable[[str], T], text: str) -> T:
    """A date or time of ISO text that Python would not cut to microseconds."""
    if _NANOSECONDS.search(text):
        raise ValueError("has microseconds and would round it")
    try:
        return parse(text)
    except ValueError:
        raise ValueError("takes ISO text") from None


def _timestamp(value: Any) -> datetime:
    moment = _moment(value)
    if moment.tzinfo is not None:
        raise ValueError("has no time zone, and the value has one; convert it in an operator")
    return moment


def _timestamp_tz(value: Any) -> datetime:
    moment = _moment(value)
    if moment.tzinfo is None:
        raise ValueError("has a time zone, and the value has none; add one in an operator")
    return moment


def _uuid(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        if not _UUID.fullmatch(value):  # UUID() passes over underscores and stray hyphens
            raise ValueError("takes a UUID")
        return UUID(value)
    raise TypeError(f"takes a UUID, not {_kind(value)}")


def _kind(value: Any) -> str:
    return type(value).__name__


_ONE: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.BOOL: _bool,
    Kind.BYTES: _bytes,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMP_TZ: _timestamp_tz,
    Kind.UUID: _uuid,
}
