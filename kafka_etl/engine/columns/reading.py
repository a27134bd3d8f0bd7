"""Values as bytes to the rows of a table, and back; values and rows that fail are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import of_values, pyarrow, rows_of
from kafka_etl.contracts import Codec
from kafka_etl.engine.rows.mapping import FAILED, explained, is_nobodys, map_each
from kafka_etl.errors import RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

ROW: Final = "_row"
KEY: Final = "_key"
HEADERS: Final = "_headers"
TIMESTAMP: Final = "_timestamp"
PARTITION: Final = "_partition"
OFFSET: Final = "_offset"
TO: Final = "_to"
RESERVED: Final = frozenset((ROW, KEY, HEADERS, TIMESTAMP, PARTITION, OFFSET, TO))
"""Names of the columns that are not part of the value."""


def values_only(table: pa.Table) -> pa.Table:
    """The table without the reserved columns, such as `_row` and `_key`."""
    own = [name for name in table.column_names if name not in RESERVED]
    untyped: Any = table  # without numpy, parts of the type hints of `select` are unknown
    return table if len(own) == table.num_columns else untyped.select(own)


def without_reserved(table: pa.Table) -> pa.Table:
    """A table of values without the reserved columns, which must be null.

    Raises:
        RecordErrors: Some values have a field with a reserved name.
    """
    taken = [name for name in table.column_names if name in RESERVED]
    if not taken:
        return table
    holding = {
        row: TypeError(f"the field `{name}` has a name that tables use for something else")
        for name in taken
        for row, held in enumerate(table[name].is_valid().to_pylist())
        if held
    }
    if holding:
        raise RecordErrors(holding)
    return table.drop_columns(taken)


class Reading:
    """Reads values into one table, and finds the values that cannot be read.

    If the codec names the bad values, these are left out. Otherwise each value is decoded by
    itself, and if that finds no bad value, the values are halved until the bad ones are found.

    Args:
        codec: The source's codec of values.
        values: Values, none of which is null.

    Attributes:
        bad: Position in `values` -> error of a value that has no row in the table.

    Raises:
        Unavailable: The codec's schema registry is away.
    """

    def __init__(self, codec: Codec, values: Sequence[bytes]) -> None:
        self._codec = codec
        self._decode = codec.table.decode if codec.table else _value_by_value(codec)
        self._values = values
        self._tried_each = False
        self._tables: list[pa.Table] = []
        self.bad: dict[int, BaseException] = {}
        self._read(range(len(values)))

    @property
    def table(self) -> pa.Table:
        """The table, with a row for each value that is not bad, in order."""
        arrow = pyarrow()
        if len(self._tables) == 1:
            return self._tables[0]
        if not self._tables:
            empty: pa.Table = arrow.table({})
            return empty
        joined: pa.Table = arrow.concat_tables(self._tables, promote_options="permissive")
        return joined

    def _read(self, rows: Sequence[int]) -> None:
        if not rows:
            return
        values = self._values
        if len(rows) < len(values):
            values = [values[row] for row in rows]
        try:
            self._tables.append(without_reserved(self._decode(values)))
        except RecordErrors as named:
            self._leave_out(rows, named.errors)
        except BaseException as error:
            if is_nobodys(error):
                raise
            self._search(rows, values, error)

    def _search(self, rows: Sequence[int], values: Sequence[bytes], error: BaseException) -> None:
        if len(rows) == 1:
            self.bad[rows[0]] = error
            return
        if not self._tried_each:
            self._tried_each = True
            _, failed = map_each(self._codec.decode, len(values), values)
            if failed:
                self._leave_out(rows, dict(explained(self._codec.explain_bytes, values, failed)))
                return
        half = len(rows) // 2
        self._read(rows[:half])
        self._read(rows[half:])

    def _leave_out(self, rows: Sequence[int], errors: Mapping[int, BaseException]) -> None:
        """Note the errors of some rows, and read the others; `errors` has positions in `rows`."""
        self.bad.update({rows[at]: error for at, error in errors.items()})
        self._read([row for at, row in enumerate(rows) if at not in errors])


def _value_by_value(codec: Codec) -> Callable[[Sequence[bytes]], pa.Table]:
    """A function that reads values into a table through plain data, for any codec."""
    return lambda values: of_values([codec.decode(value) for value in values])


def write_rows(codec: Codec, table: pa.Table) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """Encode each row of a table.

    Returns:
        Bytes of each row, with FAILED for a row that cannot be encoded, and (row, error) of these
        rows.

    Raises:
        Unavailable: The codec's schema registry is away.
    """
    if codec.table is not None:
        try:
            return list[Any](codec.table.encode(table)), []
        except RecordErrors as named:
            return _write_others(codec, table, named.errors)
        except BaseException as error:
            if is_nobodys(error):
                raise
            # Each row is encoded by itself below, which finds the rows to blame.
    values = rows_of(table)
    written, failed = map_each(codec.encode, len(values), values)
    return written, explained(codec.explain, values, failed)


def _write_others(
    codec: Codec, table: pa.Table, errors: Mapping[int, BaseException]
) -> tuple[list[Any], list[tuple[int, BaseException]]]:
    """Encode the rows without an error; returns the same as `write_rows`, for all rows."""
    good = [row for row in range(table.num_rows) if row not in errors]
    encoded: list[Any] = [FAILED] * table.num_rows
    written, failed = write_rows(codec, table.take(good)) if good else ([], [])
    for row, value in zip(good, written, strict=True):
        encoded[row] = value
    return encoded, [*errors.items(), *((good[at], error) for at, error in failed)]
