"""Values of Avro's logical types, and of bytes: the forms the codec accepts, and their conversion.

fastavro writes any text as a UUID and 6.7 as a date, but refuses JSON's forms of times, decimals
and bytes. So the encoder's schema has logical types of this module in place of Avro's; fastavro
calls their functions for each value. They are registered in `fastavro.write.LOGICAL_WRITERS`, which
is meant for that, under names of their own: other users of fastavro in the process see no change.

The decoder's schema has such types only for records that fastavro itself cannot read: a timestamp
outside the years 1 to 9999 is then read as its number, and text that is no UUID as text.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib import import_module
from typing import Any, Final
from uuid import UUID

from kafka_etl.codecs.avro.check import SIMPLE
from kafka_etl.codecs.avro.schema import HOLDERS, PRIMITIVES, fastavro
from kafka_etl.schema_registry.codec_settings import is_list, is_mapping

Write = Callable[[Any, Any], Any]
"""Value and schema -> the number, text or bytes that fastavro writes; None: not of the type."""

_WRITTEN: Final = "kafka-etl"
_READ: Final = "kafka-etl-read"

_TIMES: Final[Mapping[str, str]] = {
    "date": "int",
    "time-millis": "int",
    "time-micros": "long",
    "timestamp-millis": "long",
    "timestamp-micros": "long",
    "local-timestamp-millis": "long",
    "local-timestamp-micros": "long",
}
"""Logical type of a date or a time -> the Avro type of its number."""

_NUMBERS: Final = frozenset(["int", "long", "float", "double", "decimal", *_TIMES])
_TEXTS: Final = frozenset(["string", "enum", "uuid", "bytes", "fixed", "decimal", *_TIMES])
"""The types of a union's branches that accept a number (`_NUMBERS`) or a text (`_TEXTS`)."""

_DECIMAL: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,4})?", re.ASCII)
_EXACT_DIGITS: Final = sys.float_info.dig
"""Number of decimal digits that a floating point number always holds exactly."""


class DefaultText(str):
    """Text in a schema's default; for bytes, each character stands for one byte (Avro's rule)."""

    __slots__ = ()


def written_form(document: Any) -> Any:
    """Return the encoder's parsed schema: this module's types replace logical types and bytes."""
    _register()
    return fastavro().parse_schema(_written(document, text=True, number=True))


def read_form(parsed: Any) -> Any:
    """Return the parsed schema for records that cannot be read with the given parsed schema."""
    _register()
    return fastavro().parse_schema(_read(parsed))


def said(schema: Any) -> str:
    """Return the name of a type for errors: the logical type, or the Avro type."""
    if not is_mapping(schema):
        return str(schema)
    logical = str(schema.get("logicalType", ""))
    return logical.split(":")[1] if logical.startswith(f"{_WRITTEN}:") else str(schema["type"])


def column_form(name: str, arrow: Any) -> Callable[[Any], Any] | None:
    """Return a function that converts a value for a column of a logical type or of bytes.

    The function returns the number of a time, and None for a value that is not of the type.

    Args:
        name: Logical type, or `bytes` or `fixed`; for any other type the result is None.
        arrow: Arrow type of the column.
    """
    match name:
        case "decimal":
            schema = {"precision": arrow.precision, "scale": arrow.scale}
            return lambda value: _decimal_in_column(value, schema)
        case "bytes" | "fixed":
            write, size = _bytes(text=True), arrow.byte_width if name == "fixed" else None
            return lambda value: _of_size(write(value, None), size)
        case "uuid":
            return lambda value: _uuid(value, None)
        case _ if name in _TIMES:
            _register()
            known: dict[str, Write] = import_module("fastavro.write").LOGICAL_WRITERS
            take = known[f"{_TIMES[name]}-{_WRITTEN}:{name}:{_flags(text=True, number=True)}"]
            return lambda value: take(value, None)
        case _:
            return None


# Schemas


def _written(document: Any, *, text: bool, number: bool) -> Any:
    """Return the schema with this module's types.

    Args:
        document: Schema as plain data.
        text: Whether text is converted to the type itself; False: a union has several branches
            that accept text.
        number: Likewise for numbers.
    """
    if is_list(document):
        return _written_union(document)
    if not is_mapping(document):
        return (
            _ours(document, document, text=text, number=number) if document == "bytes" else document
        )
    kind, logical = document.get("type"), document.get("logicalType", "")
    if not isinstance(kind, str):
        return _written(kind, text=text, number=number)
    if kind in PRIMITIVES or kind == "fixed":
        plain = {key: value for key, value in document.items() if key != "logicalType"}
        if f"{kind}-{logical}" in _known():
            return {**plain, **_ours(kind, logical, text=text, number=number)}
        return (
            {**plain, **_ours(kind, kind, text=text, number=number)}
            if kind in ("bytes", "fixed")
            else plain
        )
    made = {
        key: _written_fields(value) if key == "fields" else _written(value, text=True, number=True)
        for key, value in document.items()
        if key in HOLDERS and key != "type"
    }
    return {**document, **made}


def _written_fields(fields: list[Any]) -> list[Any]:
    made = [{**field, "type": _written(field["type"], text=True, number=True)} for field in fields]
    return [
        {**field, "default": _marked(field["default"])} if "default" in field else field
        for field in made
    ]


def _marked(default: Any) -> Any:
    if isinstance(default, str):
        return DefaultText(default)
    if is_list(default):
        return [_marked(item) for item in default]
    if is_mapping(default):
        return {key: _marked(item) for key, item in default.items()}
    return default


def _written_union(branches: list[Any]) -> list[Any]:
    """Return a union whose branches convert text, or numbers, only if one branch accepts them.

    With a branch `string`, for example, text stays text and is not read as a date.
    """
    kinds = [_name(branch) for branch in branches]
    text = len(_TEXTS.intersection(kinds)) < 2  # noqa: PLR2004 - at most one branch accepts text
    number = len(_NUMBERS.intersection(kinds)) < 2  # noqa: PLR2004
    return [_written(branch, text=text, number=number) for branch in branches]


def _name(branch: Any) -> str:
    """Return a branch's logical type if this module knows the type; else the Avro type."""
    if not is_mapping(branch):
        return str(branch)
    kind, logical = str(branch.get("type")), str(branch.get("logicalType"))
    return logical if f"{kind}-{logical}" in _known() else kind


def _ours(kind: str, name: str, *, text: bool, number: bool) -> dict[str, str]:
    return {"type": kind, "logicalType": f"{_WRITTEN}:{name}:{_flags(text=text, number=number)}"}


def _flags(*, text: bool, number: bool) -> str:
    return "t" * text + "n" * number


def _read(parsed: Any) -> Any:
    if is_list(parsed):
        return [_read(branch) for branch in parsed]
    if not is_mapping(parsed):
        return parsed
    kind, logical = parsed.get("type"), parsed.get("logicalType")
    if f"{kind}-{logical}" in _known() and logical != "decimal":
        return {**parsed, "logicalType": f"{_READ}:{logical}"}
    return {
        key: _read(inner) if key in HOLDERS else inner
        for key, inner in parsed.items()
        if not key.startswith("__")  # fastavro's marks of a parsed schema
    }


@cache
def _known() -> frozenset[str]:
    times = (f"{kind}-{name}" for name, kind in _TIMES.items())
    return frozenset([*times, "bytes-decimal", "fixed-decimal", "string-uuid"])


@cache
def _register() -> None:
    """Register this module's types with fastavro, once per process."""
    readers: dict[str, Any] = import_module("fastavro.read").LOGICAL_READERS
    writers: dict[str, Write] = import_module("fastavro.write").LOGICAL_WRITERS
    for text in (True, False):
        for number in (True, False):
            flags = _flags(text=text, number=number)
            for kind, name, write in _writers(writers, text=text, number=number):
                writers[f"{kind}-{_WRITTEN}:{name}:{flags}"] = write
    for both in _known() - {"bytes-decimal", "fixed-decimal"}:
        kind, _, name = both.partition("-")
        readers[f"{kind}-{_READ}:{name}"] = _or_itself(readers[both])


def _or_itself(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader that keeps the stored number or text if the given reader fails."""

    def read_or_keep(data: Any, *schemas: Any) -> Any:
        try:
            return read(data, *schemas)
        except (OverflowError, ValueError):
            return data

    return read_or_keep


def _writers(
    known: Mapping[str, Write], *, text: bool, number: bool
) -> list[tuple[str, str, Write]]:
    """Return the Avro type, the logical type and the function for each type of this module."""
    made: list[tuple[str, str, Write]] = [
        ("string", "uuid", _uuid),
        ("bytes", "bytes", _bytes(text=text)),
        ("fixed", "fixed", _bytes(text=text)),
        ("bytes", "decimal", _decimal(text=text, number=number)),
        ("fixed", "decimal", _decimal(text=text, number=number)),
    ]
    for name, kind in _TIMES.items():
        write = known[f"{kind}-{name}"]
        if name == "date":
            take = _date(write, text=text)
        elif name.startswith("time-"):
            take = _time(write, text=text)
        else:
            take = _timestamp(write, text=text, is_local=name.startswith("local"))
        made.append((kind, name, _or_number(take, kind) if number else take))
    return made


# Values


def _or_number(take: Write, kind: str) -> Write:
    """Return a function that also accepts the number of a time.

    The decoder returns numbers for times that Python cannot hold; the encoder writes them back.
    """
    fits = SIMPLE[kind]

    def write(value: Any, schema: Any) -> Any:
        if isinstance(value, int | float):
            return int(value) if fits(value) else None
        return take(value, schema)

    return write


def _timestamp(prepare: Write, *, text: bool, is_local: bool) -> Write:
    def write(value: Any, schema: Any) -> Any:
        if text and isinstance(value, str):
            value = _parsed_timestamp(value, is_local=is_local)
        if not isinstance(value, datetime):
            return None
        if value.tzinfo is None and not is_local:  # fastavro would assume the machine's time zone
            value = value.replace(tzinfo=UTC)
        return prepare(value, schema)

    return write


def _parsed_timestamp(text: str, *, is_local: bool) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if (is_local and found.tzinfo is not None) or ":" not in text else found


def _date(prepare: Write, *, text: bool) -> Write:
    def write(value: Any, schema: Any) -> Any:
        if text and isinstance(value, str):
            try:
                value = date.fromisoformat(value)
            except ValueError:
                return None
        if isinstance(value, datetime) and (not text or value.time() != time.min):
            return None  # a date would lose the time of day
        return prepare(value, schema) if isinstance(value, date) else None

    return write


def _time(prepare: Write, *, text: bool) -> Write:
    def write(value: Any, schema: Any) -> Any:
        if text and isinstance(value, str):
            try:
                value = time.fromisoformat(value)
            except ValueError:
                return None
        return prepare(value, schema) if isinstance(value, time) and value.tzinfo is None else None

    return write


def _uuid(value: Any, _schema: Any) -> str | None:
    """Return the text of a UUID; text in any form that Python's `UUID` accepts stays as given."""
    if isinstance(value, UUID):
        return str(value)
    try:
        UUID(value)
    except (ValueError, AttributeError, TypeError):
        return None
    return str(value)


def _bytes(*, text: bool) -> Write:
    def write(value: Any, _schema: Any) -> Any:
        if not isinstance(value, str):
            return value
        if isinstance(value, DefaultText):
            return value.encode("latin-1")
        try:
            return base64.b64decode(value, validate=True) if text else None
        except ValueError:
            return None

    return write


def _of_size(value: Any, size: int | None) -> Any:
    return value if isinstance(value, bytes) and size in (None, len(value)) else None


def _decimal_in_column(value: Any, schema: Any) -> Decimal | None:
    found = value if isinstance(value, Decimal) else as_decimal(value)
    return None if found is None or _unscaled(found, schema) is None else found


def _decimal(*, text: bool, number: bool) -> Write:
    def write(value: Any, schema: Any) -> bytes | None:
        if isinstance(value, bytes | DefaultText):
            value = value if isinstance(value, bytes) else value.encode("latin-1")
            unscaled = int.from_bytes(value, "big", signed=True)
            return value if abs(unscaled) < 10 ** schema["precision"] else None
        if not isinstance(value, Decimal):
            value = as_decimal(value, text=text, number=number)
        found = None if value is None else _unscaled(value, schema)
        return None if found is None else _two_complement(found, schema)

    return write


def as_decimal(value: Any, *, text: bool = True, number: bool = True) -> Decimal | None:
    """Return the decimal for a number or a text; None: the digits are not certain.

    Args:
        value: Value to convert; floating point numbers of more than 15 digits are not certain.
        text: Whether text is accepted.
        number: Whether numbers are accepted.
    """
    if isinstance(value, str):
        return Decimal(value) if text and _DECIMAL.fullmatch(value) else None
    if not number or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if not isinstance(value, float):
        return None
    found = Decimal(repr(value))
    if not found.is_finite():
        return None
    # A JSON number of more digits has lost some of them as a float.
    return found if len(found.normalize().as_tuple().digits) <= _EXACT_DIGITS else None


def _unscaled(value: Decimal, schema: Any) -> int | None:
    """Return a decimal as Avro's unscaled integer; None: digits beyond precision or scale."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):  # NaN, Infinity
        return None
    if not value:
        return 0
    shift = exponent + int(schema.get("scale", 0))
    if not 0 < len(digits) + shift <= schema["precision"]:
        return None
    found = int("".join(map(str, digits)))
    if shift < 0:
        found, lost = divmod(found, int(10 ** (-shift)))
        if lost:
            return None
    else:
        found *= int(10**shift)
    return -found if sign else found


def _two_complement(number: int, schema: Any) -> bytes | None:
    size = schema.get("size") or (number.bit_length() + 8) // 8
    try:
        return number.to_bytes(size, "big", signed=True)
    except OverflowError:
        return None
