"""Rows as the server gets them: tuples for a binary COPY, or an Arrow table for a CSV one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from kafka_etl.contracts import Rows

if TYPE_CHECKING:
    import pyarrow as pa


class BadValue(Exception):
    """Raised when the client cannot send a value: the row is to blame.

    Args:
        position: Position of the row among those that were written.
        error: The client's error.
    """

    def __init__(self, position: int, error: Exception) -> None:
        super().__init__(str(error))
        self.position = position
        self.error = error


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows of a commit.

    Attributes:
        values: A tuple for each row, None for a deletion; empty where `table` is set.
        keys: Values of the key columns of each row.
        table: The rows as an Arrow table; None: in `values`.
        places: Number of the table of each row; None: all go to the first.
    """

    values: Sequence[Any]
    keys: Sequence[Any]
    table: pa.Table | None = None
    places: Sequence[int] | None = None

    @classmethod
    def of(cls, rows: Rows, names: Sequence[str]) -> Part:
        """All rows; an Arrow table that CSV cannot carry becomes tuples."""
        if rows.table is None:
            return cls(rows.values, rows.keys)
        table = rows.table.select(list(names))
        if _goes_as_csv(table):
            return cls((), rows.keys, table)
        values = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        return cls(values, rows.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def slice(self, begin: int, end: int) -> Part:
        """The rows from one position up to, and without, another."""
        table = None if self.table is None else self.table.slice(begin, end - begin)
        places = None if self.places is None else self.places[begin:end]
        return Part(self.values[begin:end], self.keys[begin:end], table, places)

    def pick(self, positions: Sequence[int]) -> Part:
        """The rows at these positions."""
        keys = [self.keys[p] for p in positions]
        places = None if self.places is None else [self.places[p] for p in positions]
        if self.table is not None:
            return Part((), keys, self.table.take(list(positions)), places)
        return Part([self.values[p] for p in positions], keys, None, places)

    @property
    def deletes(self) -> bool:
        """Whether some row is a deletion."""
        return self.table is None and None in self.values


def as_csv(table: pa.Table) -> memoryview:
    """A table as CSV: text is quoted, so that an empty text is no null."""
    import pyarrow as pa  # noqa: PLC0415 - an extra, which has made the table
    from pyarrow import csv  # noqa: PLC0415 - likewise

    out = BytesIO()
    style = csv.WriteOptions(include_header=False, quoting_style="needed")
    for at, kind in enumerate(table.schema.types):
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            table = table.set_column(at, table.schema.names[at], _in_utc(table.column(at)))
    csv.write_csv(table, out, style)
    return out.getbuffer()


def _in_utc(instants: Any) -> Any:
    """Instants as text in UTC; pyarrow's own text of an instant takes 16 times as long."""
    import pyarrow as pa  # noqa: PLC0415 - an extra, which has made the table
    import pyarrow.compute  # noqa: PLC0415 - likewise

    pc: Any = pyarrow.compute  # its stubs know no plain values
    text = pc.cast(pc.cast(instants, pa.timestamp(instants.type.unit)), pa.string())
    joined: Any = pc.binary_join_element_wise(text, "+00", "")
    return joined


def _goes_as_csv(table: pa.Table) -> bool:
    """Whether CSV carries every value of the table as it is."""
    import pyarrow as pa  # noqa: PLC0415 - an extra, which has made the table

    types = pa.types
    return all(
        types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_date32(kind)
        or (types.is_timestamp(kind) and kind.unit != "ns")
        for kind in table.schema.types
    )
