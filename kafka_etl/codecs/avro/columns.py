"""Avro payloads to Arrow tables and back, by the fastest library that is right for the schema."""

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
"""A function that puts the head before each payload, and the columns of the sink's schema."""

_TRIED: Final = 64
"""Number of payloads for which the fast library must give the same table as the slow one."""


def table_codec(
    document_of_id: Callable[[SchemaId], Any],
    read_as: Any | None,
    written: Callable[[], tuple[bytes, Any]],
) -> TableCodec:
    """Return a codec between Avro values and Arrow tables.

    Args:
        document_of_id: Id of a writer's schema -> the schema as plain data.
        read_as: Reader's schema as plain data; None: each record's own schema.
        written: Function that asks for the head and the schema of the sink's payloads.
    """
    return TableCodec(
        decode=_Decoder(document_of_id, read_as).decode, encode=_Encoder(written).encode
    )


class _Decoder:
    """Decodes values of any mix of schemas into one table."""

    def __init__(self, document_of_id: Callable[[SchemaId], Any], read_as: Any | None) -> None:
        self._tables = ByHead(lambda schema_id: _Reader(document_of_id(schema_id), read_as))

    def decode(self, values: Sequence[bytes]) -> pa.Table:
        head = _HEAD(values[0])
        if len(head) == HEAD and all(map(bytes.startswith, values, repeat(head))):
            return self._tables[head].read(list(map(bytes.removeprefix, values, repeat(head))))
        return self._in_groups(values)

    def _in_groups(self, values: Sequence[bytes]) -> pa.Table:
        """Read the payloads of each schema as one table, and put the rows in the values' order."""
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
            except Exception as error:  # noqa: BLE001 - the head or its schema is of no use
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
        except Exception:  # noqa: BLE001 - the slow way names the bad payloads
            return self._slow(payloads)
        except BaseException as panic:  # noqa: BLE001 - raised again if it is no panic
            _check_panic(panic)
            self._way = self._slow
            return self._slow(payloads)

    def _choose(self, payloads: list[bytes]) -> Way:
        """Choose the fast way if both ways read these payloads as the same table.

        Raises:
            RecordErrors: The slow way cannot read some payloads; the next batch chooses.
        """
        expected = self._slow(payloads)
        self._way = self._slow
        if self._candidate is not None:
            try:
                if self._candidate(payloads).equals(expected):
                    self._way = self._candidate
            except BaseException as panic:  # noqa: BLE001 - raised again if it is no panic
                if not isinstance(panic, Exception):
                    _check_panic(panic)
        return self._way


def _check_panic(error: BaseException) -> None:
    """Raise the error again, such as a KeyboardInterrupt, unless it is a panic of Rust code."""
    if type(error).__name__ != "PanicException":
        raise error


class _Encoder:
    """Encodes the rows of tables with the sink's schema.

    The encoder asks the registry for the schema when the first table comes.
    """

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
        except Exception:  # noqa: BLE001 - the slow way names the bad rows
            return self._slow(rows)
        except BaseException as panic:  # noqa: BLE001 - raised again if it is no panic
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
    """Return a function that puts the head before each payload of an Arrow array."""
    arrow, join = pyarrow(), compute().binary_join_element_wise
    begin, nothing = arrow.scalar(head), arrow.scalar(b"")  # else `join` makes them in each call
    return lambda payloads: join(begin, payloads, nothing).to_pylist()
