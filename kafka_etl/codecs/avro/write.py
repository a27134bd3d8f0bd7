"""Writes single values with fastavro, and refuses those that it would write as something else."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from kafka_etl.codecs.avro.check import Suspects, suspects
from kafka_etl.codecs.avro.explain import CloserLook
from kafka_etl.codecs.avro.logical import written_form
from kafka_etl.codecs.avro.schema import fastavro, interned


def value_writer(document: Any, head: bytes = b"") -> Callable[[Any], bytes]:
    """Writes a value behind a head, or raises ValueError, which names the field.

    What holds nothing and has no place in the schema is left out.
    """
    schema = written_form(interned(document))
    write_one, look, usual = fastavro().schemaless_writer, CloserLook(schema), suspects(schema)

    def write(value: Any, suspect: Suspects | None = usual) -> bytes:
        try:
            if suspect is None or not suspect(value):
                stream = BytesIO()
                stream.write(head)
                write_one(stream, schema, value, strict_allow_default=True)  # no further fields
                return stream.getvalue()
        except Exception as error:  # noqa: BLE001 - looked at
            return write_closely(value, suspect, error)
        return write_closely(value, suspect)

    def write_closely(
        value: Any, suspect: Suspects | None, error: Exception | None = None
    ) -> bytes:
        known = look.known(value)
        if known != value:
            return write(known)
        fault = look.fault(value)
        if fault is None and suspect is not None:
            return write(value, None)
        raise ValueError(fault or str(error)) from error

    return write
