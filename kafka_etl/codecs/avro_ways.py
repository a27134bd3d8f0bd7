"""Three ways from Avro payloads to a table, and two back.

pyruhvro reads and writes Arrow, polars reads Avro files, fastavro does everything, record by
record. The fast ones give up on what they do not know, in Rust's own way, with a page of text on
standard error: so they are not offered what they are known to fail at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import polars, pyarrow
from kafka_etl.codecs.avro_schema import AvroType, parsed
from kafka_etl.errors import RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

Way = Callable[[list[bytes]], "pa.Table"]
"""Payloads to as many rows; raises when one is bad."""

EncodeWay = Callable[["pa.RecordBatch"], Any]
"""Rows to an Arrow array of payloads."""

_COMMON: Final = frozenset(
    ["null", "boolean", "int", "long", "float", "double", "string", "array", "record"]
)
_RUHVRO: Final = _COMMON | {"enum", "map"}
_RUHVRO_LOGICAL: Final = frozenset(["", "date", "timestamp-millis", "timestamp-micros"])
_POLARS: Final = _COMMON | {"bytes", "fixed"}


def fast_ways(document: Any, record: AvroType, schema: pa.Schema) -> Iterator[Way]:
    """Those that may do this schema right, the fastest first."""
    if _ruhvro_knows(record):
        yield _by_ruhvro(document, schema)
    if all(t.kind in _POLARS and not t.again for t in record.walk()):
        yield _by_polars(document, schema)


def _ruhvro_knows(record: AvroType) -> bool:
    known = all(t.kind in _RUHVRO and t.logical in _RUHVRO_LOGICAL for t in record.walk())
    return known and _ruhvro() is not None


def _ruhvro() -> Any | None:
    try:
        import pyruhvro  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return pyruhvro


def _by_ruhvro(document: Any, schema: pa.Schema) -> Way:
    pa, ruhvro, text = pyarrow(), _ruhvro(), json.dumps(document)

    def read(payloads: list[bytes]) -> pa.Table:
        rows = ruhvro.deserialize_array(payloads, text)
        table: pa.Table = pa.Table.from_batches([rows]).cast(schema)
        return table

    return read


def _by_polars(document: Any, schema: pa.Schema) -> Way:
    """As one Avro file in memory.

    Records in a file have no length of their own: one that is cut off would take its next one's
    bytes. So each is followed by a mark that nobody knows, and that must be where it was put.
    """
    pl = polars()
    mark = os.urandom(16)
    begin, between = _file_head(document), _varint(len(mark)) + mark

    def read(payloads: list[bytes]) -> pa.Table:
        body = between.join([*payloads, b""])
        file = b"".join([begin, _varint(len(payloads)), _varint(len(body)), body, _SYNC])
        frame = pl.read_avro(BytesIO(file))
        if frame.height != len(payloads) or (frame["mark"] != mark).any():
            raise ValueError("a payload is longer or shorter than its schema says")
        table: pa.Table = frame.get_column("record").struct.unnest().to_arrow().cast(schema)
        return table

    return read


_SYNC: Final = bytes(16)


def _file_head(document: Any) -> bytes:
    fields = [{"name": "record", "type": document}, {"name": "mark", "type": "bytes"}]
    row = {"type": "record", "name": "KafkaEtlRow", "fields": fields}
    text, key = json.dumps(row).encode(), b"avro.schema"
    parts = [b"Obj\x01", _varint(1), _varint(len(key)), key, _varint(len(text)), text, _varint(0)]
    return b"".join([*parts, _SYNC])


def _varint(number: int) -> bytes:
    """As Avro writes a number that is not negative."""
    left, written = number << 1, bytearray()
    while left > 0x7F:  # noqa: PLR2004 - seven bits a byte
        written.append(left & 0x7F | 0x80)
        left >>= 7
    written.append(left)
    return bytes(written)


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


_HOLDERS: Final = frozenset(["type", "items", "values", "fields"])


def encode_way(document: Any, record: AvroType) -> EncodeWay:
    """The faster way that does this schema right."""
    return _ruhvro_writer(document) if _ruhvro_knows(record) else _slow_writer(document)


def _ruhvro_writer(document: Any) -> EncodeWay:
    pa, ruhvro, text = pyarrow(), _ruhvro(), json.dumps(document)
    schema = ruhvro.avro_to_arrow_schema(text)

    def write(rows: pa.RecordBatch) -> Any:
        return ruhvro.serialize_record_batch(rows.cast(schema), text, 1)[0]

    return write


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
