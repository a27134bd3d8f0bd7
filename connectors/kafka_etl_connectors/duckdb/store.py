"""The store `duckdb`: one transaction of one file for rows, offsets and dead letters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

import duckdb
import pyarrow as pa

from kafka_etl.contracts import (
    Column,
    Conflict,
    Deployment,
    Kind,
    Limits,
    Move,
    Refused,
    RefusedRows,
    Rows,
    Store,
    StoredOffset,
    Unreachable,
)
from kafka_etl.record import Partition
from kafka_etl.sql_tables import OffsetTable, delete_by_key, on_conflict, quoted
from kafka_etl_connectors.duckdb.settings import DuckdbSettings

_OF_A_ROW: Final = (
    duckdb.ConstraintException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.InvalidInputException,
    duckdb.TypeMismatchException,
)
_TO_MEND: Final = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.PermissionException,
    duckdb.OutOfMemoryException,
)
_TEXTS: Final = frozenset({Kind.UUID, Kind.JSON, Kind.TEXT_FORM})
"""Kinds that are handed over as text, which DuckDB reads itself."""
_ALIKE: Final = 64
_ARROW_BITS: Final = 64
"""Bits of Arrow's widest integer."""


class DuckdbStore(Store):
    """Rows of one table, and the offsets beside them.

    DuckDB has no savepoints, and an error ends the transaction: rows to blame are found by
    transactions that are rolled back.

    Args:
        settings: The file, the table and the mode.
        deployment: Whose offsets these are.
        columns: Columns that every row sets.
    """

    kind: ClassVar[str] = "duckdb"
    limits = Limits(rows=1_000_000)

    def __init__(
        self, settings: DuckdbSettings, deployment: Deployment, columns: Sequence[Column]
    ) -> None:
        self._settings = settings
        self._path = deployment.folder / settings.path
        self._letters = deployment.letter_table
        self._offsets = OffsetTable(
            settings.offsets.table,
            settings.offsets.name or deployment.group,
            deployment.cluster,
            changed=lambda result: result.fetchall()[0][0],
        )
        self._columns = columns
        self._delete_one = delete_by_key(settings)
        self._insert = _statement(settings, [column.name for column in columns])
        self._connection: Any = None

    def connect(self) -> None:
        """Open the file, and make the tables of offsets and dead letters where they are missing.

        Raises:
            Unreachable: Another process has the file, or the file cannot be used.
        """
        if not self._path.exists():
            raise Unreachable(f"there is no file {self._path}", mend=True)
        try:
            self._connection = duckdb.connect(self._path)
            self._connection.execute("SET TimeZone = 'UTC'")
            self._connection.execute(self._offsets.ddl)
            if self._letters is not None:
                self._connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {quoted(self._letters)} "
                    '("at" TIMESTAMPTZ DEFAULT now(), letter JSON NOT NULL)'
                )
        except duckdb.Error as error:
            raise _target(error) from error

    def close(self) -> None:
        """Close the file; an open transaction is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """End the statement under way."""
        if self._connection is not None:
            self._connection.interrupt()

    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        """See `Store.offsets`."""
        try:
            return self._offsets.read(self._ready(), partitions)
        except duckdb.Error as error:
            raise _target(error) from error

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """See `Store.place`."""
        connection = self._ready()
        try:
            connection.execute("BEGIN")
            self._offsets.place(connection, offsets, overwrite=overwrite)
            connection.execute("COMMIT")
        except duckdb.Error as error:
            raise _target(error) from error

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """See `Store.commit`."""
        connection = self._ready()
        table, gone = self._as_arrow(rows)
        try:
            self._begin()
            self._offsets.move(connection, moves)
            self._delete(gone)
            self._write(table)
            for letter in letters if self._letters is not None else ():
                connection.execute(
                    f"INSERT INTO {quoted(self._letters or '')} (letter) VALUES (?)",
                    [letter.decode()],
                )
            connection.execute("COMMIT")
        except Conflict:
            self._roll_back()
            raise
        except _OF_A_ROW as error:
            self._roll_back()
            raise RefusedRows(self._blamed(table, error)) from error
        except duckdb.Error as error:
            self._roll_back()
            raise _target(error) from error

    def _ready(self) -> Any:
        if self._connection is None:
            raise Unreachable("the file is not open")
        return self._connection

    def _begin(self) -> None:
        self._ready().execute("BEGIN")

    def _roll_back(self) -> None:
        try:
            self._ready().execute("ROLLBACK")
        except duckdb.TransactionException:
            return  # the error has ended it

    def _write(self, table: pa.Table) -> None:
        if table.num_rows:
            connection = self._ready()
            connection.register("kafka_etl_rows", table)  # in place of the last one
            connection.execute(self._insert)

    def _delete(self, keys: Sequence[tuple[Any, ...]]) -> None:
        for key in keys:
            self._ready().execute(self._delete_one, list(key))

    def _as_arrow(self, rows: Rows) -> tuple[pa.Table, list[Any]]:
        """The rows with their positions as an Arrow table, and the keys of rows to delete."""
        positions: list[int] = list(range(len(rows)))
        gone: list[Any] = []
        if self._settings.mode != "insert":
            newest = dict(zip(rows.keys, positions, strict=True))
            positions = sorted(newest.values())
            if rows.table is None:
                gone = [key for key, at in newest.items() if rows.values[at] is None]
                positions = [at for at in positions if rows.values[at] is not None]
        if rows.table is not None:
            table: Any = rows.table.take(positions)
        else:
            chosen = [rows.values[at] for at in positions]
            columns: list[Any] = list(zip(*chosen, strict=True)) or [()] * len(self._columns)
            arrow: Any = pa  # its stubs leave the columns open
            table = arrow.table(
                {
                    column.name: arrow.array(_plain(column, values))
                    for column, values in zip(self._columns, columns, strict=True)
                }
            )
        return table.append_column("kafka_etl_position", pa.array(positions, pa.int64())), gone

    def _blamed(self, table: Any, first: duckdb.Error) -> dict[int, Refused]:
        """All rows that DuckDB refuses, found by transactions that are rolled back."""
        bad: dict[int, Refused] = {}
        accepted: list[tuple[int, int]] = []
        ranges = [(0, table.num_rows)]
        while ranges:
            low, high = ranges.pop()
            try:
                self._begin()
                for begin, end in accepted:
                    self._write(table.slice(begin, end - begin))
                self._write(table.slice(low, high - low))
            except _OF_A_ROW as error:
                if high - low > 1:
                    middle = (low + high) // 2
                    ranges += [(middle, high), (low, middle)]
                    continue
                position = table.column("kafka_etl_position")[low].as_py()
                bad[position] = Refused(type(error).__name__, str(error).splitlines()[0])
                if len(bad) >= _ALIKE and not accepted:
                    raise Unreachable(f"DuckDB refuses every row: {first}", mend=True) from error
            else:
                accepted = _joined([*accepted, (low, high)])
            finally:
                self._roll_back()
        return bad


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, neighbours as one."""
    if len(ranges) > 1 and ranges[-2][1] == ranges[-1][0]:
        return [*ranges[:-2], (ranges[-2][0], ranges[-1][1])]
    return ranges


def _plain(column: Column, values: Sequence[Any]) -> list[Any]:
    """Values that Arrow knows: UUIDs and integers beyond 64 bits are text, which DuckDB reads."""
    if column.kind in _TEXTS or column.many or column.bits > _ARROW_BITS:
        return [_text(column, value) for value in values]
    return list(values)


def _text(column: Column, value: Any) -> Any:
    if column.many and value is not None:
        return [_text_of_one(column, one) for one in value]
    return _text_of_one(column, value)


def _text_of_one(column: Column, value: Any) -> Any:
    if isinstance(value, UUID) or (isinstance(value, int) and column.bits > _ARROW_BITS):
        return str(value)
    return value


def _statement(settings: DuckdbSettings, names: Sequence[str]) -> str:
    """The statement that writes the registered rows."""
    listed = ", ".join(map(quoted, names))
    head = f"INSERT INTO {quoted(settings.table)} ({listed}) SELECT {listed} FROM kafka_etl_rows"
    if settings.mode == "insert":
        return head
    return f"{head} {on_conflict(settings, names)}"


def _target(error: duckdb.Error) -> Unreachable:
    said = str(error).splitlines()[0]
    locked = "lock" in said.lower()
    mend = isinstance(error, (*_TO_MEND, duckdb.IOException)) and not locked
    return Unreachable(f"DuckDB: {said}", mend=mend)
