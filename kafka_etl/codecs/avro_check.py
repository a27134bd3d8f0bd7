"""What fastavro passes over without a word: bytes that are left, 6.7 written as 6, true as 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from operator import itemgetter
from typing import Any, Final

from kafka_etl.codecs.avro_schema import fastavro
from kafka_etl.codecs.schemas import is_mapping

Check = Callable[[Any], None]
"""Raises for a value that would not be written as what it is."""

_EXACT: Final[Mapping[str, type]] = {"int": int, "long": int, "boolean": bool}


Read = Callable[[BytesIO, Any, Any], Any]
"""Reads a stream with the writer's and the reader's schema."""


def value_reader(*, whole: bool) -> Read:
    """Reads what the schema describes.

    It raises ValueError where there is too little (an `EOFError` would be tried again), or, for
    `whole`, something behind it.
    """
    read_one = fastavro().schemaless_reader

    def read(stream: BytesIO, schema: Any, read_as: Any) -> Any:
        try:
            value = read_one(stream, schema, read_as)
        except EOFError as error:
            raise ValueError("the payload ends before its Avro schema does") from error
        if whole and stream.read(1):
            raise ValueError("the payload goes on after its Avro schema ends")
        return value

    return read


def whole_numbers(schema: Any) -> Check:
    """A check of a record's own fields of these types; unions, and what is within, fastavro checks.

    One look at the types of a record's fields costs 0.1 us; only unusual ones are looked at
    closely.
    """
    kinds = _kinds(schema) if is_mapping(schema) and schema.get("type") == "record" else {}
    if not kinds:
        return lambda _value: None
    read = itemgetter(*kinds) if len(kinds) > 1 else _one(*kinds)
    usual = [_EXACT[kind] for kind in kinds.values()]

    def check(value: Any) -> None:
        try:
            found = list(map(type, read(value)))
        except (LookupError, TypeError):  # a field has its default, or this is no record
            found = []
        if found != usual and isinstance(value, Mapping):
            for name, kind in kinds.items():
                if name in value:
                    _check(name, kind, value[name])

    return check


def _one(name: str) -> Callable[[Any], tuple[Any]]:
    return lambda value: (value[name],)


def _kinds(record: dict[str, Any]) -> dict[str, str]:
    fields = ((field["name"], _plain(field["type"])) for field in record["fields"])
    return {name: kind for name, kind in fields if kind in _EXACT}


def _plain(kind: Any) -> Any:
    """The primitive type of a field, where it is nothing but that."""
    if is_mapping(kind) and "logicalType" not in kind:
        kind = kind.get("type")
    return kind if isinstance(kind, str) else None


def _check(name: str, kind: str, value: Any) -> None:
    is_right = isinstance(value, bool) if kind == "boolean" else _is_whole(value)
    if not is_right:
        raise ValueError(f"field {name}: {value!r:.80} is no {kind}")


def _is_whole(value: Any) -> bool:
    """Also numbers of other libraries, and 6.0."""
    if isinstance(value, bool | str | bytes):
        return False
    try:
        return bool(int(value) == value)
    except (TypeError, ValueError, OverflowError):
        return False
