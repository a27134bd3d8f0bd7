"""Decodes single values with fastavro; names the field of a payload that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

from kafka_etl.codecs.avro.logical import read_form
from kafka_etl.codecs.avro.schema import fastavro
from kafka_etl.schema_registry.codec_settings import is_mapping

Read = Callable[[BytesIO, int, Any, Any], Any]
"""Stream, position of the payload's start, writer's schema, reader's schema or None -> value.

Both schemas are parsed ones, and the stream stands at the payload's start.
"""


def value_reader(*, whole: bool) -> Read:
    """Return a function that decodes a payload.

    The function raises `ValueError` for a payload that cannot be read: the engine would retry the
    record after fastavro's own `EOFError`. Times that Python cannot hold become their numbers.

    Args:
        whole: Whether bytes after the value are an error.
    """
    read_one, forms = fastavro().schemaless_reader, _Forms()

    def read(stream: BytesIO, begin: int, schema: Any, read_as: Any) -> Any:
        try:
            value = read_one(stream, schema, read_as)
        except (OverflowError, ValueError) as error:
            value = read_otherwise(stream, begin, schema, read_as, error)
        except Exception as error:
            raise ValueError(_said(error, stream.getvalue()[begin:], schema)) from error
        if whole and stream.read(1):
            raise ValueError("the payload goes on after its Avro schema ends")
        return value

    def read_otherwise(
        stream: BytesIO, begin: int, schema: Any, read_as: Any, error: Exception
    ) -> Any:
        with suppress(Exception):  # the error of the first attempt is reported below
            stream.seek(begin)
            return read_one(stream, forms.of(schema), read_as and forms.of(read_as))
        raise ValueError(_said(error, stream.getvalue()[begin:], schema)) from error

    return read


class _Forms:
    """Parsed schema -> its form for values that fastavro cannot read (`read_form`), made once."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, schema: Any) -> Any:
        known = self._made.get(id(schema))
        if known is None:  # a schema kept alive here shares its `id` with no other schema
            known = self._made[id(schema)] = schema, read_form(schema)
        return known[1]


def _said(error: Exception, payload: bytes, schema: Any) -> str:
    """Return the meaning of fastavro's error, with the field where reading fails."""
    name = _field(payload, schema)
    at = f" in field {name}" if name else ""
    match error:
        case EOFError():
            return f"the payload ends before its Avro schema does{at}"
        case IndexError() if str(error).startswith("string"):  # the payload ends within a number
            return f"the payload ends before its Avro schema does{at}"
        case IndexError():
            return f"the payload has a symbol or a branch{at} that its Avro schema does not have"
        case UnicodeDecodeError():
            return f"the payload has a text{at} that is not UTF-8: {error}"
        case _:
            return f"the payload cannot be read{at}: {error}"


def _field(payload: bytes, schema: Any) -> str | None:
    """Return the first field of a record at which reading fails; None: no field does."""
    fields: list[Any] = schema.get("fields", []) if is_mapping(schema) else []
    for count, field in enumerate(fields, 1):
        try:
            fastavro().schemaless_reader(
                BytesIO(payload), {**schema, "fields": fields[:count]}, None
            )
        except Exception:  # noqa: BLE001 - any error shows the field
            return str(field["name"])
    return None
