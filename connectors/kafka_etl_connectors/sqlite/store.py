"""The store `sqlite`: one transaction of one file for rows, offsets and dead letters."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

from kafka_etl.contracts import (
    Column,
    Deployment,
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
from kafka_etl.sql_tables import OffsetTable, on_conflict, quoted
from kafka_etl_connectors.sqlite.numbers import changed, of_numbers
from kafka_etl_connectors.sqlite.schema import letters_ddl, primary_code
from kafka_etl_connectors.sqlite.settings import SqliteSettings

_MENDABLE: Final = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_PERM,
)
_OF_A_ROW: Final = (
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_RANGE,
)


class SqliteStore(Store):
    """Rows of one table, and the offsets beside them.

    Args:
        settings: The file, the table and the mode.
        deployment: Whose offsets these are.
        columns: Columns that every row sets.
    """

    kind: ClassVar[str] = "sqlite"
    limits = Limits(rows=1_000_000)

    def __init__(
        self, settings: SqliteSettings, deployment: Deployment, columns: Sequence[Column]
    ) -> None:
        self._settings = settings
        self._path = deployment.folder / settings.path
        self._letters = deployment.letter_table
        self._offsets = OffsetTable(
            settings.offsets.table,
            settings.offsets.name or deployment.group,
            deployment.cluster,
            changed=lambda cursor: cursor.rowcount,
        )
        self._tables: dict[str | None, _Statements] = {
            one.table: _Statements.of(one, columns, deployment.columns)
            for one in settings.each_table()
        }
        self._tables[None] = self._tables[settings.table]
        keys = [
            column for name in settings.key_columns for column in columns if column.name == name
        ]
        self._numbers, self._numbers_of_keys = of_numbers(columns), of_numbers(keys)
        self._connection: sqlite3.Connection | None = None

    def connect(self) -> None:
        """Open the file, and make the tables of offsets and dead letters where they are missing.

        Raises:
            Unreachable: Another writer has the file, or the file cannot be used.
        """
        if not self._path.exists():
            raise Unreachable(f"there is no file {self._path}", mend=True)
        try:
            connection = sqlite3.connect(
                self._path,
                timeout=self._settings.lock_timeout,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection = connection
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(self._offsets.ddl)
            if self._letters is not None:
                connection.execute(letters_ddl(self._letters))
        except sqlite3.Error as error:
            raise _target(error) from error

    def close(self) -> None:
        """Close the file; an open transaction is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """End the statement under way."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.interrupt()

    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        """See `Store.offsets`."""
        try:
            return self._offsets.read(self._ready(), partitions)
        except sqlite3.Error as error:
            raise _target(error) from error

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """See `Store.place`."""
        connection = self._ready()
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._offsets.place(connection, offsets, overwrite=overwrite)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _target(error) from error

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """See `Store.commit`; bad rows are found one by one, within the transaction."""
        connection = self._ready()
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._offsets.move(connection, moves)
            self._write_rows(connection, rows)
            if letters and self._letters is not None:
                connection.executemany(
                    f"INSERT INTO {quoted(self._letters)} (letter) VALUES (?)",
                    [(letter.decode(),) for letter in letters],
                )
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if _is_of_a_row(error):  # of a deferred key, or a trigger that rolls back: the engine
                raise  # finds the row
            raise _target(error) from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _ready(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unreachable("the file is not open")
        return self._connection

    def _write_rows(self, connection: sqlite3.Connection, rows: Rows) -> None:
        values = _tuples(rows)
        if not values:
            return
        self._check_kept(values, rows.keys)
        connection.execute("SAVEPOINT rows")
        places = rows.destinations or [None] * len(rows)
        try:
            if rows.destinations is not None or None in values:
                for place, value, key in zip(places, values, rows.keys, strict=True):
                    self._apply(connection, place, value, key)
            else:
                connection.executemany(self._tables[None].write, map(_plain, values))
        except sqlite3.Error as error:
            if not (_is_of_a_row(error) and connection.in_transaction):  # a trigger may end that
                raise
            connection.execute("ROLLBACK TO rows")
            refused = self._refused(connection, places, values, rows.keys)
            if refused:
                raise RefusedRows(refused) from error
        connection.execute("RELEASE rows")

    def _check_kept(self, values: Sequence[Any], keys: Sequence[Any]) -> None:
        """Check that SQLite makes no other values of texts that look like numbers.

        Raises:
            RefusedRows: Of some rows it would.
        """
        if not self._numbers:
            return
        refused: dict[int, Refused] = {}
        for position, value in enumerate(values):
            if value is not None:
                verdict = changed(value, self._numbers)
            else:
                verdict = changed(keys[position], self._numbers_of_keys)
            if verdict is not None:
                refused[position] = verdict
        if refused:
            raise RefusedRows(refused)

    def _refused(
        self,
        connection: sqlite3.Connection,
        places: Sequence[str | None],
        values: Sequence[Any],
        keys: Sequence[Any],
    ) -> dict[int, Refused]:
        """Write the rows one by one, to find all that the target refuses."""
        refused: dict[int, Refused] = {}
        for position, value in enumerate(values):
            try:
                self._apply(connection, places[position], value, keys[position])
            except sqlite3.Error as error:
                if not (_is_of_a_row(error) and connection.in_transaction):
                    raise
                refused[position] = Refused(error.sqlite_errorname, str(error))
        return refused

    def _apply(
        self, connection: sqlite3.Connection, place: str | None, value: Any, key: Any
    ) -> None:
        statements = self._tables[place]
        if value is not None:
            connection.execute(statements.write, _plain(value))
            return
        connection.execute(statements.delete, _plain(key))


@dataclass(frozen=True, slots=True)
class _Statements:
    """What is run for a row of one table; a later row of a key in a batch wins by itself.

    Attributes:
        write: Writes a row. `OR ABORT` stands above any `ON CONFLICT` in the table's own
            definition, which might drop a row without a word, or end the transaction.
        delete: Deletes the row with a key.
    """

    write: str
    delete: str

    @classmethod
    def of(
        cls, settings: SqliteSettings, columns: Sequence[Column], table_columns: Sequence[Column]
    ) -> _Statements:
        table = quoted(settings.table)
        listed = ", ".join(quoted(column.name) for column in columns)
        places = ", ".join("?" * len(columns))
        write = f"INSERT OR ABORT INTO {table} ({listed}) VALUES ({places})"
        if settings.mode != "insert":
            write += f" {on_conflict(settings, columns, table_columns)}"
        keys = " AND ".join(f"{quoted(name)} = ?" for name in settings.key_columns)
        return cls(write, f"DELETE FROM {table} WHERE {keys}")


def _tuples(rows: Rows) -> Sequence[Any]:
    table: Any = rows.table
    if table is None:
        return rows.values
    columns: list[Any] = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True))


def _plain(row: Iterable[Any]) -> tuple[Any, ...]:
    """A row in SQLite's own types: times, decimals and UUIDs are text."""
    return tuple(_FORMS.get(type(value), _same)(value) for value in row)  # pyright: ignore[reportUnknownArgumentType]


def _same(value: Any) -> Any:
    return value


def _iso(value: date | time) -> str:
    return value.isoformat()


_FORMS: Final[Mapping[type, Any]] = {
    datetime: _iso,
    date: _iso,
    time: _iso,
    Decimal: str,
    UUID: str,
}


def _is_of_a_row(error: sqlite3.Error) -> bool:
    return primary_code(error) in _OF_A_ROW


def _target(error: sqlite3.Error) -> Unreachable:
    return Unreachable(f"SQLite: {error}", mend=primary_code(error) in _MENDABLE)
