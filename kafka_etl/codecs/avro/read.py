"""Reads single values with fastavro, and says what is wrong with those that it cannot read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

from kafka_etl.codecs.avro.logical import read_form
from kafka_etl.codecs.avro.schema import fastavro
from kafka_etl.schema_registry.codec_settings import is_mapping

Read = Callable[[BytesIO, int, Any, Any], Any]
"""Reads a stream, in which the value begins there, with the writer's and the reader's schema."""


def value_reader(*, whole: bool) -> Read:
    """Reads what the schema describes.

    It raises ValueError where there is too little (an `EOFError` would be tried again), or, for
    `whole`, something behind it. Times that Python does not have are their numbers.
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
        with suppress(Exception):  # the first error says more
            stream.seek(begin)
            return read_one(stream, forms.of(schema), read_as and forms.of(read_as))
        raise ValueError(_said(error, stream.getvalue()[begin:], schema)) from error

    return read


class _Forms:
    """The schemas to read by what others cannot, each made once."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, schema: Any) -> Any:
        known = self._made.get(id(schema))
        if known is None:  # the schema is kept: another one may not have its identity
            known = self._made[id(schema)] = schema, read_form(schema)
        return known[1]


def _said(error: Exception, payload: bytes, schema: Any) -> str:
    """What fastavro's errors mean, and the field where it gives up."""
    name = _field(payload, schema)
    at = f" in field {name}" if name else ""
    match error:
        case EOFError():
            return f"the payload ends before its Avro schema does{at}"
        case IndexError() if str(error).startswith("string"):  # within a number
            return f"the payload ends before its Avro schema does{at}"
        case IndexError():
            return f"the payload has a symbol or a branch{at} that its Avro schema does not have"
        case UnicodeDecodeError():
            return f"the payload has a text{at} that is not UTF-8: {error}"
        case _:
            return f"the payload cannot be read{at}: {error}"


def _field(payload: bytes, schema: Any) -> str | None:
    """The first of a record's fields up to which it cannot be read."""
    fields: list[Any] = schema.get("fields", []) if is_mapping(schema) else []
    for count, field in enumerate(fields, 1):
        try:
            fastavro().schemaless_reader(
                BytesIO(payload), {**schema, "fields": fields[:count]}, None
            )
        except Exception:  # noqa: BLE001 - whatever it is, here it is
            return str(field["name"])
    return None
