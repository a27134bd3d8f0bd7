"""Two ways from Avro payloads to a table and back: pyruhvro in Rust, fastavro record by record.

pyruhvro is forty times as fast and knows half of Avro; at the rest it gives up in Rust's own way,
with a page of text on standard error. So it is never shown what it does not know. A good part it
can do under another name: bytes are text that it does not look at.

Polars reads Avro files, which payloads can be made into, and knows more. It is not used: it takes
union branches that do not exist, and panics at every second broken record.
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
"""Payloads to as many rows; raises when one is bad."""

EncodeWay = Callable[["pa.RecordBatch"], Any]
"""Rows to an Arrow array of payloads."""

_KNOWN: Final = PRIMITIVES | {"array", "record", "enum", "map"}
_OWN_LOGICAL: Final = frozenset(["date", "timestamp-millis", "timestamp-micros"])


def _ruhvro() -> Any | None:
    try:
        import pyruhvro  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return pyruhvro


def _knows(record: AvroType) -> bool:
    """Whether pyruhvro can do it, under whatever name."""
    return all(part.kind in _KNOWN and part.logical != "decimal" for part in record.walk())


def _disguised(document: Any) -> Any:
    """The schema of the same bytes, in types that pyruhvro knows."""
    if is_list(document):
        return [_disguised(branch) for branch in document]
    if not is_mapping(document):
        return "string" if document == "bytes" else document
    plain = document.get("type")
    if isinstance(plain, str) and plain in PRIMITIVES and "name" not in document:
        return document if document.get("logicalType") in _OWN_LOGICAL else _disguised(plain)
    return {k: _disguised(inner) if k in HOLDERS else inner for k, inner in document.items()}


def fast_way(document: Any, record: AvroType, schema: pa.Schema) -> Way | None:
    """By pyruhvro; None: it does not know this schema, or is not installed."""
    ruhvro = _ruhvro()
    if ruhvro is None or not _knows(record):
        return None
    arrow, text = pyarrow(), json.dumps(_disguised(document))

    def read(payloads: list[bytes]) -> pa.Table:
        rows = ruhvro.deserialize_array(payloads, text)
        table: pa.Table = arrow.Table.from_batches([rows]).cast(schema)
        table.validate(full=True)  # what it takes for text need not be UTF-8
        return table

    return read


def slow_way(document: Any, read_as: Any | None, schema: pa.Schema) -> Way:
    """By fastavro, record by record; names the bad ones."""
    arrow, read_one = pyarrow(), value_reader(whole=False)
    writer = parsed(_without_uuids(document))
    reader = None if read_as is None else parsed(_without_uuids(read_as))

    def read(payloads: list[bytes]) -> pa.Table:
        rows: list[Any] = []
        errors: dict[int, BaseException] = {}
        for number, payload in enumerate(payloads):
            try:
                rows.append(read_one(BytesIO(payload), 0, writer, reader))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it
                errors[number] = error
        if errors:
            raise RecordErrors(errors)
        table: pa.Table = arrow.Table.from_pylist(rows, schema=schema)
        return table

    return read


def _without_uuids(document: Any) -> Any:
    """The schema in which they are the text they are written as."""
    if is_list(document):
        return [_without_uuids(branch) for branch in document]
    if not is_mapping(document):
        return document
    if document.get("logicalType") == "uuid" and document.get("type") == "string":
        return {key: value for key, value in document.items() if key != "logicalType"}
    return {k: _without_uuids(inner) if k in HOLDERS else inner for k, inner in document.items()}


def fast_writer(document: Any, record: AvroType) -> EncodeWay | None:
    """By pyruhvro; None: it does not know this schema, or is not installed."""
    ruhvro = _ruhvro()
    if ruhvro is None or not _knows(record):
        return None
    text = json.dumps(_disguised(document))
    schema = ruhvro.avro_to_arrow_schema(text)

    def write(rows: pa.RecordBatch) -> Any:
        return ruhvro.serialize_record_batch(_recast(rows, schema), text, 1)[0]

    return write


def _recast(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same bytes as the types that pyruhvro asks for."""
    arrow, given, options = pyarrow(), _untyped(rows), compute().CastOptions
    columns = [
        column.cast(options=options(target_type=kind, allow_invalid_utf8=True))
        for column, kind in zip(given.columns, _untyped(schema).types, strict=True)
    ]
    batch: pa.RecordBatch = arrow.RecordBatch.from_arrays(columns, schema=schema)
    return batch


def _untyped(given: Any) -> Any:
    """For what pyarrow's own hints leave half unknown."""
    return given


def slow_writer(document: Any) -> EncodeWay:
    """By fastavro, record by record; names the bad ones."""
    arrow, write_one = pyarrow(), value_writer(document)

    def write(rows: pa.RecordBatch) -> Any:
        payloads: list[bytes] = []
        errors: dict[int, BaseException] = {}
        for number, row in enumerate(rows_of(rows)):
            try:
                payloads.append(write_one(row))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it
                errors[number] = error
        if errors:
            raise RecordErrors(errors)
        return arrow.array(payloads)

    return write
