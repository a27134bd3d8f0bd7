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

from kafka_etl.codecs.arrow import pyarrow
from kafka_etl.codecs.avro_schema import PRIMITIVES, AvroType, parsed
from kafka_etl.errors import RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

Way = Callable[[list[bytes]], "pa.Table"]
"""Payloads to as many rows; raises when one is bad."""

EncodeWay = Callable[["pa.RecordBatch"], Any]
"""Rows to an Arrow array of payloads."""

_KNOWN: Final = frozenset(
    ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
    + ["array", "record", "enum", "map"]
)
_OWN_LOGICAL: Final = frozenset(["date", "timestamp-millis", "timestamp-micros"])
_HOLDERS: Final = frozenset(["type", "items", "values", "fields"])


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
    match document:
        case "bytes":
            return "string"
        case list():
            return [_disguised(branch) for branch in document]
        case {"type": str(plain), **more} if plain in PRIMITIVES and "name" not in more:
            return document if more.get("logicalType") in _OWN_LOGICAL else _disguised(plain)
        case dict():
            return {
                key: _disguised(value) if key in _HOLDERS else value
                for key, value in document.items()
            }
        case _:
            return document


def fast_way(document: Any, record: AvroType, schema: pa.Schema) -> Way | None:
    """By pyruhvro; None: it does not know this schema, or is not installed."""
    ruhvro = _ruhvro()
    if ruhvro is None or not _knows(record):
        return None
    pa, text = pyarrow(), json.dumps(_disguised(document))

    def read(payloads: list[bytes]) -> pa.Table:
        rows = ruhvro.deserialize_array(payloads, text)
        table: pa.Table = pa.Table.from_batches([rows]).cast(schema)
        table.validate(full=True)  # what it takes for text need not be UTF-8
        return table

    return read


def slow_way(document: Any, read_as: Any | None, schema: pa.Schema) -> Way:
    """By fastavro, record by record; names the bad ones."""
    from fastavro import schemaless_reader  # noqa: PLC0415 - an extra

    pa = pyarrow()
    writer = parsed(_without_uuids(document))
    reader = None if read_as is None else parsed(_without_uuids(read_as))

    def read(payloads: list[bytes]) -> pa.Table:
        rows: list[Any] = []
        errors: dict[int, BaseException] = {}
        for number, payload in enumerate(payloads):
            try:
                rows.append(schemaless_reader(BytesIO(payload), writer, reader))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it
                errors[number] = error
        if errors:
            raise RecordErrors(errors)
        table: pa.Table = pa.Table.from_pylist(rows, schema=schema)
        return table

    return read


def _without_uuids(document: Any) -> Any:
    """The schema in which they are the text they are written as."""
    match document:
        case list():
            return [_without_uuids(branch) for branch in document]
        case {"logicalType": "uuid", "type": "string"}:
            return "string"
        case dict():
            return {
                key: _without_uuids(value) if key in _HOLDERS else value
                for key, value in document.items()
            }
        case _:
            return document


def encode_way(document: Any, record: AvroType) -> EncodeWay:
    """The faster way that does this schema right."""
    ruhvro = _ruhvro()
    if ruhvro is None or not _knows(record):
        return _slow_writer(document)
    text = json.dumps(_disguised(document))
    schema = ruhvro.avro_to_arrow_schema(text)

    def write(rows: pa.RecordBatch) -> Any:
        return ruhvro.serialize_record_batch(_recast(rows, schema), text, 1)[0]

    return write


def _recast(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same bytes as the types that pyruhvro asks for."""
    from pyarrow import compute  # noqa: PLC0415 - an extra

    pa = pyarrow()
    columns = [
        column.cast(options=compute.CastOptions(target_type=kind, allow_invalid_utf8=True))
        for column, kind in zip(rows.columns, schema.types, strict=True)
    ]
    batch: pa.RecordBatch = pa.RecordBatch.from_arrays(columns, schema=schema)
    return batch


def _slow_writer(document: Any) -> EncodeWay:
    from fastavro import schemaless_writer  # noqa: PLC0415 - an extra

    pa, schema = pyarrow(), parsed(document)

    def write(rows: pa.RecordBatch) -> Any:
        return pa.array([_written(schemaless_writer, schema, row) for row in _plain(rows)])

    return write


def _written(write: Any, schema: Any, row: Any) -> bytes:
    stream = BytesIO()
    write(stream, schema, row)
    return stream.getvalue()


def _plain(rows: pa.RecordBatch) -> Sequence[Any]:
    plain: list[Any] = rows.to_pylist(maps_as_pydicts="strict")
    return plain
