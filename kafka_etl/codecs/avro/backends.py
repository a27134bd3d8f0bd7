"""Two ways from Avro payloads to a table and back: pyruhvro in Rust, fastavro record by record.

pyruhvro is forty times as fast, but supports half of Avro; for other types its Rust code panics and
prints a page of text to standard error. So pyruhvro gets only schemas that it supports. Many other
schemas can be rewritten to supported types with the same bytes: `bytes` are read as `string`, which
pyruhvro does not check for UTF-8.

polars can read payloads if they are made into Avro files, and supports more types. The codec does
not use polars: it accepts union branches that do not exist, and panics at many broken records.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import compute, pyarrow, rows_of
from kafka_etl.codecs.avro.read import value_reader
from kafka_etl.codecs.avro.schema import (
    HOLDERS,
    PRIMITIVES,
    AvroType,
    parsed,
)
from kafka_etl.codecs.avro.write import value_writer
from kafka_etl.errors import RecordErrors
from kafka_etl.schema_registry.codec_settings import is_list, is_mapping

if TYPE_CHECKING:
    import pyarrow as pa

Way = Callable[[list[bytes]], "pa.Table"]
"""Payloads of one schema -> a table with one row per payload; raises if any payload is bad."""

EncodeWay = Callable[["pa.RecordBatch"], Any]
"""Rows -> an Arrow array with one payload per row; raises if any row cannot be encoded."""

_KNOWN: Final = PRIMITIVES | {"array", "record", "enum", "map"}
_OWN_LOGICAL: Final = frozenset(["date", "timestamp-millis", "timestamp-micros"])


def _ruhvro() -> Any | None:
    try:
        import pyruhvro  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return pyruhvro


def _knows(record: AvroType) -> bool:
    """Whether pyruhvro supports the type's encoding, if need be with its types rewritten."""
    return all(part.kind in _KNOWN and part.logical != "decimal" for part in record.walk())


def _disguised(document: Any) -> Any:
    """Return a schema that describes the same bytes in types that pyruhvro supports."""
    if is_list(document):
        return [_disguised(branch) for branch in document]
    if not is_mapping(document):
        return "string" if document == "bytes" else document
    plain = document.get("type")
    if isinstance(plain, str) and plain in PRIMITIVES and "name" not in document:
        return document if document.get("logicalType") in _OWN_LOGICAL else _disguised(plain)
    return {k: _disguised(inner) if k in HOLDERS else inner for k, inner in document.items()}


def fast_way(document: Any, record: AvroType, schema: pa.Schema) -> Way | None:
    """Return the way to tables by pyruhvro.

    None: pyruhvro does not support the schema, or is not installed. An error of this way does not
    name the bad payloads.

    Args:
        document: Avro schema as plain data.
        record: The same schema as a tree of types.
        schema: Arrow schema of the tables.
    """
    ruhvro = _ruhvro()
    if ruhvro is None or not _knows(record):
        return None
    arrow, text = pyarrow(), json.dumps(_disguised(document))

    def read(payloads: list[bytes]) -> pa.Table:
        rows = ruhvro.deserialize_array(payloads, text)
        table: pa.Table = arrow.Table.from_batches([rows]).cast(schema)
        table.validate(full=True)  # pyruhvro does not check that strings are UTF-8
        return table

    return read


def slow_way(document: Any, read_as: Any | None, schema: pa.Schema) -> Way:
    """Return the way to tables by fastavro, which raises `RecordErrors` for bad payloads.

    Args:
        document: Writer's schema as plain data.
        read_as: Reader's schema as plain data; None: the writer's schema.
        schema: Arrow schema of the tables.
    """
    arrow, read_one = pyarrow(), value_reader(whole=False)
    writer = parsed(_without_uuids(document))
    reader = None if read_as is None else parsed(_without_uuids(read_as))

    def read(payloads: list[bytes]) -> pa.Table:
        rows: list[Any] = []
        errors: dict[int, BaseException] = {}
        for number, payload in enumerate(payloads):
            try:
                rows.append(read_one(BytesIO(payload), 0, writer, reader))
            except Exception as error:  # noqa: BLE001 - any error is this payload's
                errors[number] = error
        if errors:
            raise RecordErrors(errors)
        table: pa.Table = arrow.Table.from_pylist(rows, schema=schema)
        return table

    return read


def _without_uuids(document: Any) -> Any:
    """Return the schema with plain strings in place of UUIDs: the columns hold their text."""
    if is_list(document):
        return [_without_uuids(branch) for branch in document]
    if not is_mapping(document):
        return document
    if document.get("logicalType") == "uuid" and document.get("type") == "string":
        return {key: value for key, value in document.items() if key != "logicalType"}
    return {k: _without_uuids(inner) if k in HOLDERS else inner for k, inner in document.items()}


def fast_writer(document: Any, record: AvroType) -> EncodeWay | None:
    """Return the way from rows by pyruhvro.

    None: pyruhvro does not support the schema, or is not installed. An error of this way does not
    name the bad rows.
    """
    ruhvro = _ruhvro()
    if ruhvro is None or not _knows(record):
        return None
    text = json.dumps(_disguised(document))
    schema = ruhvro.avro_to_arrow_schema(text)

    def write(rows: pa.RecordBatch) -> Any:
        return ruhvro.serialize_record_batch(_recast(rows, schema), text, 1)[0]

    return write


def _recast(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows with columns of the types that pyruhvro expects, bytes as strings say."""
    arrow, given, options = pyarrow(), _untyped(rows), compute().CastOptions
    columns = [
        column.cast(options=options(target_type=kind, allow_invalid_utf8=True))
        for column, kind in zip(given.columns, _untyped(schema).types, strict=True)
    ]
    batch: pa.RecordBatch = arrow.RecordBatch.from_arrays(columns, schema=schema)
    return batch


def _untyped(given: Any) -> Any:
    """Return the argument as `Any`: pyarrow's type hints are incomplete."""
    return given


def slow_writer(document: Any) -> EncodeWay:
    """Return the way from rows by fastavro, which raises `RecordErrors` for bad rows."""
    arrow, write_one = pyarrow(), value_writer(document)

    def write(rows: pa.RecordBatch) -> Any:
        payloads: list[bytes] = []
        errors: dict[int, BaseException] = {}
        for number, row in enumerate(rows_of(rows)):
            try:
                payloads.append(write_one(row))
            except Exception as error:  # noqa: BLE001 - any error is this row's
                errors[number] = error
        if errors:
            raise RecordErrors(errors)
        return arrow.array(payloads)

    return write
