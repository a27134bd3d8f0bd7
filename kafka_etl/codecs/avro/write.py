"""Encodes single values with fastavro; refuses values that fastavro would silently change."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from kafka_etl.codecs.avro.check import Suspects, suspects
from kafka_etl.codecs.avro.explain import CloserLook
from kafka_etl.codecs.avro.logical import written_form
from kafka_etl.codecs.avro.schema import fastavro, interned


def value_writer(document: Any, head: bytes = b"") -> Callable[[Any], bytes]:
    """Return a function that encodes a value behind a head.

    The function leaves out null fields that the schema does not define. It raises `ValueError` for
    a value that does not fit; the error names the field.

    Args:
        document: Schema as plain data.
        head: Bytes before each payload.
    """
    schema = written_form(interned(document))
    write_one, look, usual = fastavro().schemaless_writer, CloserLook(schema), suspects(schema)

    def write(value: Any, suspect: Suspects | None = usual) -> bytes:
        try:
            if suspect is None or not suspect(value):
                stream = BytesIO()
                stream.write(head)
                write_one(stream, schema, value, strict_allow_default=True)  # refuse extra fields
                return stream.getvalue()
        except Exception as error:  # noqa: BLE001 - the second look finds the reason
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
