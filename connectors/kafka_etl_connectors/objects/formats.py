"""How rows are written: as lines, or as columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

import orjson

from kafka_etl.contracts import Column, Kind, Refused, Rows
from kafka_etl_connectors.objects.columns import arrow_schema
from kafka_etl_connectors.objects.files import (
    Block,
    Compression,
    LineFile,
    OpenFile,
    ParquetFile,
    compressor,
)

if TYPE_CHECKING:
    import pyarrow as pa

Refusals = Mapping[int, Refused]
"""Position -> verdict of a row that no file of this format can hold."""
Pick = Callable[[Sequence[int]], Any]
"""Positions -> what `OpenFile.append` takes."""

_ENDINGS: Final = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_TOMBSTONE: Final = Refused("Tombstone", "a file has no place for a record without a value")
_NEWLINE: Final = Refused("Newline", "the value has several lines, and a row is one")


class Format(Protocol):
    """A format of files.

    Attributes:
        extension: End of the files' names.
    """

    extension: str

    def encode(self, rows: Rows) -> tuple[Refusals, Pick]:
        """Find all rows that cannot be written, and make ready to pick the others."""
        ...

    def open(self) -> OpenFile[Any]:
        """Return a new file."""
        ...


class Lines:
    """A line for each row.

    Args:
        form: `jsonl` or `text`.
        compression: `zstd`, `gzip` or `none`.
        folder: Folder of temporary files; None: the system's.
    """

    def __init__(self, form: str, compression: str, folder: Path | None) -> None:
        self.extension = {"text": ".txt"}.get(form, ".jsonl") + _ENDINGS[compression]
        self._compress = compressor(compression)
        self._folder = folder

    def encode(self, rows: Rows) -> tuple[Refusals, Pick]:
        values = rows.values
        refused: dict[int, Refused] = {}
        if None in values:
            refused = {at: _TOMBSTONE for at, value in enumerate(values) if value is None}
        whole = b"" if refused else b"\n".join(values)
        if refused or whole.count(b"\n") != len(values) - 1:
            refused |= {at: _NEWLINE for at, value in enumerate(values) if b"\n" in (value or b"")}

        def pick(positions: Sequence[int]) -> Block:
            if len(positions) == len(values):
                return whole, len(values)
            return b"\n".join([values[p] for p in positions]), len(positions)

        return refused, pick

    def open(self) -> LineFile:
        return LineFile(self._folder, self._compress)


class Columns:
    """Parquet.

    Args:
        columns: Columns of the files.
        compression: Name of the compression, as Arrow knows it.
        folder: Folder of temporary files; None: the system's.
    """

    extension = ".parquet"

    def __init__(
        self, columns: Sequence[Column], compression: Compression, folder: Path | None
    ) -> None:
        self._columns = tuple(columns)
        self._schema: Any = arrow_schema(columns)
        self._compression: Compression = compression
        self._folder = folder

    def encode(self, rows: Rows) -> tuple[Refusals, Pick]:
        import pyarrow as pa  # noqa: PLC0415 - an extra, imported where rows are written

        try:
            table = self._table(rows)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, LookupError):
            refused = self._refusals(rows)
            if not refused:
                raise
            return refused, lambda _: None
        every = range(len(table))

        def pick(positions: Sequence[int]) -> pa.Table:
            return table if len(positions) == len(every) else table.take(list(positions))

        return {}, pick

    def open(self) -> ParquetFile:
        return ParquetFile(self._folder, self._schema, self._compression)

    def _table(self, rows: Rows) -> pa.Table:
        """All rows as a table.

        Raises:
            ValueError: A value does not fit; so do Arrow's errors, TypeError and OverflowError.
        """
        import pyarrow as pa  # noqa: PLC0415 - an extra, imported where rows are written

        if rows.table is not None:
            table = rows.table.select(self._schema.names).cast(self._schema)
        else:
            # strict=True: a row of another width is a mistake, and None is no row at all.
            cells = list(zip(*rows.values, strict=True)) or [()] * len(self._columns)
            arrays: list[Any] = [
                pa.array(_as_arrow(column, given), field.type)
                for column, given, field in zip(self._columns, cells, self._schema, strict=True)
            ]
            table = pa.Table.from_arrays(arrays, schema=self._schema)
        for column, array in zip(self._columns, table.columns, strict=True):
            if not column.nullable and array.null_count:
                raise ValueError(f"{column.name} is null")
        return table

    def _refusals(self, rows: Rows) -> dict[int, Refused]:
        """Look at every value by itself, and name the first of each row that does not fit."""
        if rows.table is not None:
            table: Any = rows.table
            columns: list[Any] = [table[name].to_pylist() for name in self._schema.names]
            values: Sequence[Any] = list(zip(*columns, strict=True))
        else:
            values = rows.values
        found: dict[int, Refused] = {}
        for position, row in enumerate(values):
            said = self._fault(row)
            if row is None:
                found[position] = _TOMBSTONE
            elif said is not None:
                found[position] = Refused("EncodeError", said)
        return found

    def _fault(self, row: Sequence[Any] | None) -> str | None:
        import pyarrow as pa  # noqa: PLC0415 - an extra, imported where rows are written

        for column, field, cell in zip(self._columns, self._schema, row or (), strict=False):
            try:
                pa.array(_as_arrow(column, [cell]), field.type)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                return f"{column.name}: {error}"
            if cell is None and not column.nullable:
                return f"{column.name} is null"
        return None


def _as_arrow(column: Column, cells: Sequence[Any]) -> Sequence[Any]:
    """What Arrow takes for a UUID and for JSON: text."""
    if column.kind not in (Kind.UUID, Kind.JSON):
        return cells
    if column.many:
        return [None if cell is None else list(map(_text, cell)) for cell in cells]
    return list(map(_text, cells))


def _text(cell: Any) -> Any:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, UUID):
        return str(cell)
    return orjson.dumps(cell).decode()
