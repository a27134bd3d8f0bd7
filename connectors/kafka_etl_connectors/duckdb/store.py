"""The store `duckdb`: one transaction of one file for rows, offsets and dead letters."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final
from uuid import UUID

import duckdb
import pyarrow as pa

from kafka_etl.contracts import (
    Column,
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
from kafka_etl.sql_tables import OffsetTable, quoted
from kafka_etl_connectors.duckdb.blame import blamed
from kafka_etl_connectors.duckdb.schema import is_held, letters_ddl, unique_columns
from kafka_etl_connectors.duckdb.settings import DuckdbSettings
from kafka_etl_connectors.duckdb.statements import GONE, PLACE, POSITION, ROWS, TableStatements

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
_ARROW_BITS: Final = 64
"""Bits of Arrow's widest integer."""


class DuckdbStore(Store):
    """Rows of one table, and the offsets beside them.

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
        self._by_name = {column.name: column for column in columns}
        self._tables = [
            TableStatements(one, columns, deployment.columns, alone=not settings.routes)
            for one in settings.each_table()
        ]
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
                self._connection.execute(letters_ddl(self._letters))
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
        try:
            with self._transaction() as connection:
                self._offsets.place(connection, offsets, overwrite=overwrite)
                connection.execute("COMMIT")
        except duckdb.Error as error:
            raise _target(error) from error

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """See `Store.commit`."""
        written, gone = self._as_arrow(rows)
        try:
            refusal = self._committed(written, gone, moves, letters)
            if refusal is None:
                return
            refused = blamed(written, gone, self._trial, self._twins)
        except duckdb.Error as error:
            raise _target(error) from error
        if not refused:
            raise _target(refusal)
        raise RefusedRows(refused) from refusal

    def _ready(self) -> Any:
        if self._connection is None:
            raise Unreachable("the file is not open")
        return self._connection

    def _committed(
        self,
        rows: pa.Table,
        gone: pa.Table,
        moves: Mapping[Partition, Move],
        letters: Sequence[bytes],
    ) -> duckdb.Error | None:
        """Commit everything, or nothing; return the error if it is some row's."""
        try:
            with self._transaction() as connection:
                self._offsets.move(connection, moves)
                self._write(rows, gone)
                for letter in letters if self._letters is not None else ():
                    connection.execute(
                        f"INSERT INTO {quoted(self._letters or '')} (letter) VALUES (?)",
                        [letter.decode()],
                    )
                connection.execute("COMMIT")
        except _OF_A_ROW as error:
            return error
        return None

    def _trial(self, rows: pa.Table, gone: pa.Table) -> duckdb.Error | None:
        try:
            with self._transaction():
                self._write(rows, gone)
        except _OF_A_ROW as error:
            return error
        return None

    @contextmanager
    def _transaction(self) -> Generator[Any]:
        """A transaction; what is not committed at its end is rolled back."""
        connection = self._ready()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            with suppress(duckdb.TransactionException):  # there is none: committed, or an error
                connection.execute("ROLLBACK")

    def _twins(self, rows: pa.Table) -> dict[int, Refused]:
        connection = self._ready()
        connection.register(ROWS, rows)
        found: dict[int, Refused] = {}
        for statements in self._tables:
            for names in unique_columns(connection, statements.table):
                if names <= self._by_name.keys():
                    message = f"an earlier row of the batch has the same {', '.join(sorted(names))}"
                    verdict = Refused(duckdb.ConstraintException.__name__, message)
                    twins = connection.execute(statements.twins(sorted(names))).fetchall()
                    found |= {row[0]: verdict for row in twins}
        return found

    def _write(self, rows: pa.Table, gone: pa.Table) -> None:
        connection = self._ready()
        connection.register(ROWS, rows)  # in place of the last ones
        if self._settings.mode != "insert":
            connection.register(GONE, gone)
        for statements in self._tables:
            if gone.num_rows:
                connection.execute(statements.delete)
            if rows.num_rows:
                connection.execute(statements.insert)

    def _as_arrow(self, rows: Rows) -> tuple[pa.Table, pa.Table]:
        """The rows to write, and the keys of rows to delete, each with the positions."""
        keys = [self._by_name[name] for name in self._settings.key_columns]
        if rows.table is not None:
            written, gone = rows.table, _table(keys, ())
            return self._placed(written, rows, range(len(rows))), self._placed(gone, rows, ())
        there = [at for at, value in enumerate(rows.values) if value is not None]
        away = [at for at, value in enumerate(rows.values) if value is None]
        written = _table(self._columns, [rows.values[at] for at in there])
        gone = _table(keys, [rows.keys[at] for at in away])
        return self._placed(written, rows, there), self._placed(gone, rows, away)

    def _placed(self, table: pa.Table, rows: Rows, positions: Sequence[int]) -> pa.Table:
        """A table with the positions of its rows, and with their tables if there are several."""
        table = table.append_column(POSITION, pa.array(positions, pa.int64()))
        if not self._settings.routes:
            return table
        own, sent = self._settings.table, rows.destinations
        places = [own if sent is None else sent[at] or own for at in positions]
        return table.append_column(PLACE, pa.array(places, pa.string()))


def _table(columns: Sequence[Column], values: Sequence[Any]) -> Any:
    by_column: list[Any] = list(zip(*values, strict=True)) or [()] * len(columns)
    arrow: Any = pa  # its stubs leave the columns open
    made = {
        column.name: arrow.array(_plain(column, of_column), _arrow_type(column))
        for column, of_column in zip(columns, by_column, strict=True)
    }
    return arrow.table(made)


def _arrow_type(column: Column) -> pa.DataType | None:
    """Arrow's type of a column; None: Arrow finds one, of instants by the zone of the first."""
    if column.kind is not Kind.TIMESTAMP_TZ:
        return None
    instant = pa.timestamp("us", "UTC")  # Arrow has no offset with seconds, as of 1890 in Berlin
    return pa.list_(instant) if column.many else instant


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


def _target(error: duckdb.Error) -> Unreachable:
    said = str(error).splitlines()[0]
    mend = isinstance(error, (*_TO_MEND, duckdb.IOException)) and not is_held(said)
    return Unreachable(f"DuckDB: {said}", mend=mend)
