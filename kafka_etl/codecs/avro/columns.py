"""Avro payloads to Arrow tables and back, by the fastest library that does the schema right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import compute, pyarrow
from kafka_etl.codecs.avro.arrow_types import schema_of
from kafka_etl.codecs.avro.backends import (
    EncodeWay,
    Way,
    fast_way,
    fast_writer,
    slow_way,
    slow_writer,
)
from kafka_etl.codecs.avro.fit_columns import Place, fitted, place_of
from kafka_etl.codecs.avro.schema import type_of
from kafka_etl.contracts import TableCodec, Unavailable
from kafka_etl.errors import KafkaEtlError, RecordErrors
from kafka_etl.schema_registry.wire_format import HEAD, ByHead, SchemaId

if TYPE_CHECKING:
    import pyarrow as pa

_HEAD: Final = itemgetter(slice(None, HEAD))
_Prepared = tuple[Callable[[Any], list[bytes]], Place]
"""What puts the head before payloads, and what the sink's schema wants of columns."""

_TRIED: Final = 64
"""Payloads by which a library shows that it does the schema right."""


def table_codec(
    document_of_id: Callable[[SchemaId], Any],
    read_as: Any | None,
    written: Callable[[], tuple[bytes, Any]],
) -> TableCodec:
    """The way to columns and back.

    Args:
        document_of_id: A writer's schema as plain data, by its id.
        read_as: The reader's schema; None: as written.
        written: What payloads of the sink begin with, and their schema.
    """
    return TableCodec(
        decode=_Decoder(document_of_id, read_as).decode, encode=_Encoder(written).encode
    )


class _Decoder:
    def __init__(self, document_of_id: Callable[[SchemaId], Any], read_as: Any | None) -> None:
        self._tables = ByHead(lambda schema_id: _Reader(document_of_id(schema_id), read_as))

    def decode(self, values: Sequence[bytes]) -> pa.Table:
        head = _HEAD(values[0])
        if len(head) == HEAD and all(map(bytes.startswith, values, repeat(head))):
            return self._tables[head].read(list(map(bytes.removeprefix, values, repeat(head))))
        return self._in_groups(values)

    def _in_groups(self, values: Sequence[bytes]) -> pa.Table:
        """Schema by schema, and put back in order."""
        heads = list(map(_HEAD, values))
        payloads = list(map(bytes.removeprefix, values, heads))
        rows: dict[bytes, list[int]] = {}
        for row, head in enumerate(heads):
            rows.setdefault(head, []).append(row)
        tables: list[Any] = []
        errors: dict[int, BaseException] = {}
        for head, group in rows.items():
            try:
                tables.append(self._tables[head].read([payloads[row] for row in group]))
            except RecordErrors as named:
                errors.update((group[row], error) for row, error in named.errors.items())
            except (Unavailable, KafkaEtlError):
                raise
            except Exception as error:  # noqa: BLE001 - no schema can be made of this head
                errors.update(dict.fromkeys(group, error))
        if errors:
            raise RecordErrors(errors)
        table: Any = pyarrow().concat_tables(tables, promote_options="permissive")
        order = [0] * len(heads)
        for place, row in enumerate(row for group in rows.values() for row in group):
            order[row] = place
        in_order: pa.Table = table.take(order)
        return in_order


class _Reader:
    """Reads payloads of one schema."""

    def __init__(self, document: Any, read_as: Any | None) -> None:
        wanted = type_of(document if read_as is None else read_as)
        schema = schema_of(wanted)
        self._slow = slow_way(document, read_as, schema)
        same = read_as is None or read_as == document
        self._candidate = fast_way(document, wanted, schema) if same else None
        self._way: Way | None = None

    def read(self, payloads: list[bytes]) -> pa.Table:
        way = self._way or self._choose(payloads[:_TRIED])
        try:
            return way(payloads)
        except RecordErrors:
            raise
        except Exception:  # noqa: BLE001 - it cannot say which payload is bad; the slow way can
            return self._slow(payloads)
        except BaseException as panic:  # noqa: BLE001 - looked at
            _check_panic(panic)
            self._way = self._slow
            return self._slow(payloads)

    def _choose(self, payloads: list[bytes]) -> Way:
        """The fast way if it reads these as the slow one does, which raises if one is bad."""
        expected = self._slow(payloads)
        self._way = self._slow
        if self._candidate is not None:
            try:
                if self._candidate(payloads).equals(expected):
                    self._way = self._candidate
            except BaseException as panic:  # noqa: BLE001 - looked at
                if not isinstance(panic, Exception):
                    _check_panic(panic)
        return self._way


def _check_panic(error: BaseException) -> None:
    """Let pass what a library in Rust raises when it gives up, and nothing else of that rank."""
    if type(error).__name__ != "PanicException":
        raise error


class _Encoder:
    """Writes the rows of tables with the sink's schema."""

    def __init__(self, written: Callable[[], tuple[bytes, Any]]) -> None:
        self._written = written
        self._ready: _Prepared | None = None
        self._fast: EncodeWay | None = None
        self._slow: EncodeWay

    def encode(self, table: pa.Table) -> list[bytes]:
        begin, place = self._ready or self._prepare()
        if not table.num_rows:
            return []
        return begin(self._write(fitted(table, place)))

    def _write(self, rows: pa.RecordBatch) -> Any:
        if self._fast is None:
            return self._slow(rows)
        try:
            return self._fast(rows)
        except Exception:  # noqa: BLE001 - it cannot say which row is bad; the slow way can
            return self._slow(rows)
        except BaseException as panic:  # noqa: BLE001 - looked at
            _check_panic(panic)
            return self._slow(rows)

    def _prepare(self) -> _Prepared:
        head, document = self._written()
        record = type_of(document)
        place = place_of(record)
        self._fast, self._slow = fast_writer(document, record), slow_writer(document)
        self._ready = _put_before(head), place
        return self._ready


def _put_before(head: bytes) -> Callable[[Any], list[bytes]]:
    """Puts this before each payload of an array."""
    arrow, join = pyarrow(), compute().binary_join_element_wise
    begin, nothing = arrow.scalar(head), arrow.scalar(b"")  # of bytes it would make them each time
    return lambda payloads: join(begin, payloads, nothing).to_pylist()
