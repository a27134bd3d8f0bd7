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
from kafka_etl_connectors.duckdb.schema import quoted
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
        self._name = settings.offsets.name or deployment.group
        self._cluster = deployment.cluster
        self._letters = deployment.letter_table
        self._offsets = quoted(settings.offsets.table)
        self._columns = columns
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
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._offsets} (name TEXT, cluster TEXT, topic TEXT, "
                "part INTEGER, topic_id TEXT NOT NULL, next BIGINT NOT NULL, generation BIGINT NOT "
                "NULL, grp TEXT NOT NULL, PRIMARY KEY (name, cluster, topic, part))"
            )
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
        wanted = set(partitions)
        try:
            found = self._ready().execute(
                f"SELECT topic, part, next, generation, topic_id, grp FROM {self._offsets} "
                "WHERE name = ? AND cluster = ?",
                [self._name, self._cluster],
            )
            return {
                tp: StoredOffset(*standing)
                for topic, number, *standing in found.fetchall()
                if (tp := Partition(topic, number)) in wanted
            }
        except duckdb.Error as error:
            raise _target(error) from error

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """See `Store.place`."""
        kept = (
            "DO UPDATE SET next = excluded.next, generation = excluded.generation, "
            "topic_id = excluded.topic_id, grp = excluded.grp"
            if overwrite
            else "DO NOTHING"
        )
        connection = self._ready()
        try:
            connection.execute("BEGIN")
            for tp, at in offsets.items():
                connection.execute(
                    f"INSERT INTO {self._offsets} (name, cluster, topic, part, topic_id, next, "
                    "generation, grp) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                    f"ON CONFLICT (name, cluster, topic, part) {kept}",
                    [self._name, self._cluster, *tp, at.topic_id, at.next, at.generation, at.group],
                )
            connection.execute("COMMIT")
        except duckdb.Error as error:
            raise _target(error) from error

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """See `Store.commit`."""
        connection = self._ready()
        table, gone = self._as_arrow(rows)
        try:
            self._begin()
            self._move(moves)
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

    def _move(self, moves: Mapping[Partition, Move]) -> None:
        """Move all partitions; those that stand elsewhere are the conflict."""
        connection = self._ready()
        missed: list[Partition] = []
        for tp, move in sorted(moves.items()):
            moved = connection.execute(
                f"UPDATE {self._offsets} SET next = ? WHERE name = ? AND cluster = ? AND topic = ? "
                "AND part = ? AND next = ? AND generation = ? RETURNING 1",
                [move.next, self._name, self._cluster, *tp, move.begin, move.generation],
            ).fetchall()
            if len(moved) != 1:
                missed.append(tp)
        if missed:
            raise Conflict(missed)

    def _write(self, table: pa.Table) -> None:
        if table.num_rows:
            connection = self._ready()
            connection.register("kafka_etl_rows", table)  # in place of the last one
            connection.execute(self._insert)

    def _delete(self, keys: Sequence[tuple[Any, ...]]) -> None:
        tests = " AND ".join(f"{quoted(name)} = ?" for name in self._settings.key_columns)
        for key in keys:
            self._ready().execute(
                f"DELETE FROM {quoted(self._settings.table)} WHERE {tests}", list(key)
            )

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
    keys = ", ".join(map(quoted, settings.key_columns))
    others = [name for name in names if name not in settings.key_columns]
    sets = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in others)
    if not sets:
        return f"{head} ON CONFLICT ({keys}) DO NOTHING"
    newer = ""
    if settings.newer is not None:
        column = quoted(settings.newer)
        newer = f" WHERE {quoted(settings.table)}.{column} < excluded.{column}"
    return f"{head} ON CONFLICT ({keys}) DO UPDATE SET {sets}{newer}"


def _target(error: duckdb.Error) -> Unreachable:
    said = str(error).splitlines()[0]
    locked = "lock" in said.lower()
    mend = isinstance(error, (*_TO_MEND, duckdb.IOException)) and not locked
    return Unreachable(f"DuckDB: {said}", mend=mend)
