"""Tables in a database file, for stores whose SQL has `?` and `ON CONFLICT`: SQLite and DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import Field

from kafka_etl.contracts import Column, Conflict, Move, StoredOffset
from kafka_etl.errors import SinkFailed
from kafka_etl.record import Partition
from kafka_etl.table_settings import (
    OffsetTableSettings,
    SqlTableSettings,
    TableSettings,
    check_alike,
    mapped_columns,
)

_MAKE: Final = (
    "CREATE TABLE IF NOT EXISTS {table} (name TEXT, cluster TEXT, topic TEXT, part INTEGER, "
    "topic_id TEXT NOT NULL, next BIGINT NOT NULL, generation BIGINT NOT NULL, grp TEXT NOT NULL, "
    "PRIMARY KEY (name, cluster, topic, part))"
)
_READ: Final = (
    "SELECT topic, part, next, generation, topic_id, grp FROM {table} "
    "WHERE name = ? AND cluster = ?"
)
_PLACE: Final = (
    "INSERT INTO {table} (name, cluster, topic, part, topic_id, next, generation, grp) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name, cluster, topic, part) "
)
_KEEP: Final = "DO NOTHING"
_OVERWRITE: Final = (
    "DO UPDATE SET next = excluded.next, generation = excluded.generation, "
    "topic_id = excluded.topic_id, grp = excluded.grp"
)
_MOVE: Final = (
    "UPDATE {table} SET next = ? WHERE name = ? AND cluster = ? AND topic = ? AND part = ? "
    "AND next = ? AND generation = ?"
)


class FileSettings(SqlTableSettings):
    """Settings of every sink whose target is a table in a database file.

    Attributes:
        path: The database file; a relative path starts at the folder of the pipeline file.
        types: Column -> the database's type, for `create` and `evolve`.
        offsets: Where the offsets are.
    """

    path: Path = Field(examples=["shop.db"])
    types: dict[str, str] = Field(default_factory=dict[str, str])
    offsets: OffsetTableSettings = OffsetTableSettings()

    def file_below(self, folder: Path) -> Path:
        """The database file, for a check before the start.

        Args:
            folder: Folder of the pipeline file.

        Raises:
            SinkFailed: There is no such file, and none may be made.
        """
        path = folder / self.path
        if not path.parent.is_dir():
            raise SinkFailed(f"there is no folder {path.parent}", "Create it, or correct `path`.")
        if not path.exists() and not self.create:
            raise SinkFailed(f"there is no file {path}", "Create it, or say `create: true`.")
        return path


AnyFileSettings = TypeVar("AnyFileSettings", bound=FileSettings)


class OffsetTable:
    """The offsets of one name and one Kafka cluster.

    The methods take a connection of the database's client and raise that client's errors.

    Args:
        table: Name of the table.
        name: Name under which the offsets stand.
        cluster: Kafka's id of the cluster.
        changed: The number of rows that an UPDATE has changed, by what the client returned.
    """

    def __init__(self, table: str, name: str, cluster: str, changed: Callable[[Any], int]) -> None:
        self._table = quoted(table)
        self._of = (name, cluster)
        self._changed = changed
        self.ddl = _MAKE.format(table=self._table)
        self._read, self._place, self._move = (
            text.format(table=self._table) for text in (_READ, _PLACE, _MOVE)
        )

    def read(
        self, connection: Any, partitions: Collection[Partition]
    ) -> dict[Partition, StoredOffset]:
        """Where these partitions stand; unknown ones are left out."""
        wanted = set(partitions)
        return {
            tp: StoredOffset(*standing)
            for topic, number, *standing in connection.execute(self._read, self._of).fetchall()
            if (tp := Partition(topic, number)) in wanted
        }

    def place(
        self, connection: Any, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool
    ) -> None:
        """Write where partitions stand."""
        statement = self._place + (_OVERWRITE if overwrite else _KEEP)
        for tp, at in offsets.items():
            row = (*self._of, *tp, at.topic_id, at.next, at.generation, at.group)
            connection.execute(statement, row)

    def move(self, connection: Any, moves: Mapping[Partition, Move]) -> None:
        """Move all partitions within the transaction under way.

        Raises:
            Conflict: Some partitions stand elsewhere.
        """
        missed: list[Partition] = []
        for tp, move in sorted(moves.items()):
            row = (move.next, *self._of, *tp, move.begin, move.generation)
            if self._changed(connection.execute(self._move, row)) != 1:
                missed.append(tp)
        if missed:
            raise Conflict(missed)


def quoted(name: str) -> str:
    """A name as SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def check_tables(
    settings: AnyFileSettings,
    *,
    example: str,
    columns_of: Callable[[str], tuple[Column, ...]],
    run: Callable[[str], object] | None,
    check: Callable[[AnyFileSettings], None],
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Check every table before the start, and make what is missing and may be made.

    Args:
        settings: Settings of the sink.
        example: A column and its type, for the message.
        columns_of: Reads the columns of a table; none: there is no such table.
        run: Runs a statement; None: no statement is run, and a table that lacks columns is not
            checked.
        check: Checks what is the database's own; raises SinkFailed.

    Returns:
        The columns, and the statements that were run, or would be.

    Raises:
        SinkFailed: A table is missing, or does not fit.
    """
    made: list[str] = []
    columns: tuple[Column, ...] = ()
    for one in settings.each_table():
        names = {column.name for column in columns_of(one.table)}
        statements = _ddl(one, names, example)
        for statement in statements:
            if run is None:
                made.append(f"would run: {statement}")
            else:
                run(statement)
                made.append(statement)
        if run is None and statements:
            continue
        found = columns_of(one.table)
        columns = columns or found
        check_alike(settings.table, columns, one.table, found)
        mapped_columns(one, found)
        check(one)
    return columns, tuple(made)


def _ddl(settings: FileSettings, columns: Collection[str], example: str) -> tuple[str, ...]:
    """The statements that make the table, or add its missing columns, if the settings say so.

    Args:
        settings: Settings of the sink.
        columns: Names of the columns that are there; none: there is no table.
        example: A column and its type, for the message.

    Raises:
        SinkFailed: The table is missing, and may not be made.
    """
    table = quoted(settings.table)
    if columns:
        missing = settings.types.keys() - set(columns) if settings.evolve else set[str]()
        return tuple(
            f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {kind}"
            for name, kind in settings.types.items()
            if name in missing
        )
    if not settings.create:
        raise SinkFailed(
            f"{settings.path} has no table {settings.table}",
            "Create it, or say `create: true` and give `types: {column: type}`.",
        )
    if not settings.types:
        raise SinkFailed(
            f"table {settings.table} cannot be created without `types`",
            f"Give `types: {{{example}, …}}` under sink.with.",
        )
    fields = [f"{quoted(name)} {kind}" for name, kind in settings.types.items()]
    if settings.key_columns:
        fields.append(f"PRIMARY KEY ({', '.join(map(quoted, settings.key_columns))})")
    return (f"CREATE TABLE {table} ({', '.join(fields)})",)


def on_conflict(
    settings: TableSettings, columns: Sequence[Column], table_columns: Sequence[Column]
) -> str:
    """The end of an INSERT by which a row replaces the row with its key, unless that is newer.

    Args:
        settings: Settings of the sink.
        columns: Columns that every row sets, which an upsert replaces.
        table_columns: All columns of the table; `replace` sets the others to their defaults.
    """
    keys = ", ".join(map(quoted, settings.key_columns))
    replaced = table_columns if settings.mode == "replace" else columns
    others = [
        quoted(column.name)
        for column in replaced
        if column.writable and column.name not in settings.key_columns
    ]
    if not others:
        return f"ON CONFLICT ({keys}) DO NOTHING"
    sets = ", ".join(f"{name} = excluded.{name}" for name in others)
    unless = ""
    if settings.newer is not None:
        newer = quoted(settings.newer)
        there = f"{quoted(settings.table)}.{newer}"
        unless = f" WHERE {there} IS NULL OR {there} <= excluded.{newer}"
    return f"ON CONFLICT ({keys}) DO UPDATE SET {sets}{unless}"
