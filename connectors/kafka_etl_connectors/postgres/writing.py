"""Rows into the table: COPY, or COPY into a staging table and from there by one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import length_hint
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.postgres import types as registry

from kafka_etl.contracts import Column, Kind
from kafka_etl_connectors.postgres.connection import Connection, identifier, identifiers
from kafka_etl_connectors.postgres.parts import BadValue, Part, as_csv
from kafka_etl_connectors.postgres.schema import base_type, types_of
from kafka_etl_connectors.postgres.settings import PostgresSettings

_NUMBER: Final = sql.Identifier("kafka_etl_number")
_GONE: Final = sql.Identifier("kafka_etl_gone")

_TYPES: Final = {
    Kind.BOOL: "bool",
    Kind.DECIMAL: "numeric",
    Kind.TEXT: "text",
    Kind.BYTES: "bytea",
    Kind.DATE: "date",
    Kind.TIME: "time",
    Kind.TIMESTAMP: "timestamp",
    Kind.TIMESTAMP_TZ: "timestamptz",
    Kind.UUID: "uuid",
    Kind.TEXT_FORM: "text",
}
_INTS: Final = {16: "int2", 32: "int4", 64: "int8"}
_FLOATS: Final = {32: "float4", 64: "float8"}


class TableWriter:
    """Writes rows within the transaction under way.

    Args:
        settings: The table and the mode.
        columns: The columns that every row sets.
        number: Number of the table, for the name of its staging table.
    """

    def __init__(
        self, settings: PostgresSettings, columns: Sequence[Column], number: int = 0
    ) -> None:
        names = [column.name for column in columns]
        self._settings = settings
        self._staged = sql.Identifier(f"kafka_etl_staged_{number}")
        self._names = names
        self._table = identifier(settings.table)
        self._listed = identifiers(names)
        self._types = [_oid(column) for column in columns]
        self._keys = settings.key_columns
        self._key_places = [names.index(key) for key in self._keys if key in names]
        self._binary = all(column.kind is not Kind.TEXT_FORM for column in columns)
        self._base_types = [base_type(column) for column in columns]
        self.staged = settings.mode != "insert"

    def prepare(self, connection: Connection, *, ends_with_commit: bool) -> None:
        """Make the staging table, where rows go by one.

        Args:
            connection: The connection, whose session the table belongs to.
            ends_with_commit: Whether the table is gone after the transaction under way.
        """
        if not self.staged:
            return
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE {} ON COMMIT {} AS "
                "SELECT {}, 0::bigint AS {}, false AS {} FROM {} WITH NO DATA; "
                "ALTER TABLE {} ALTER {} SET NOT NULL, ALTER {} ADD GENERATED ALWAYS AS IDENTITY"
            ).format(
                self._staged,
                sql.SQL("DROP" if ends_with_commit else "DELETE ROWS"),
                self._listed,
                _NUMBER,
                _GONE,
                self._table,
                self._staged,
                _NUMBER,
                _NUMBER,
            ),
            prepare=False,
        )

    def write(self, connection: Connection, part: Part) -> None:
        """Write the rows.

        Raises:
            BadValue: The client cannot send a value.
            psycopg.Error: The server refuses a row, or is away.
        """
        if not len(part):
            return
        if not self.staged:
            self._copy(connection, part, self._table, self._listed)
            return
        if part.deletes:
            listed = sql.SQL("{}, {}").format(self._listed, _GONE)
            self._copy(
                connection, self._marked(part), self._staged, listed, (registry["bool"].oid,)
            )
        else:
            self._copy(connection, part, self._staged, self._listed)
        for statement in self._merge(deletes=part.deletes):
            connection.execute(statement)

    def is_sound(self, connection: Connection, part: Part) -> bool:
        """Whether the columns still had the types as which the rows, just written, were sent.

        A binary COPY into a column whose type has changed may store other values without an error.
        The rows written keep the table from changing until the end of the transaction.
        """
        if self.staged or not self._binary or part.table is not None or not len(part):
            return True
        return types_of(connection, self._settings.table, self._names) == self._base_types

    def clear(self, connection: Connection) -> None:
        """Empty the staging table, for the next rows of the same transaction."""
        if self.staged:
            connection.execute(sql.SQL("DELETE FROM {}").format(self._staged))

    def _copy(
        self,
        connection: Connection,
        part: Part,
        table: sql.Identifier,
        listed: sql.Composable,
        more_types: Sequence[int] = (),
    ) -> None:
        kind = sql.SQL("CSV" if part.table is not None else "BINARY" if self._binary else "TEXT")
        query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(table, listed, kind)
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            if part.table is not None:
                copy.write(as_csv(part.table))
                return
            copy.set_types([*self._types, *more_types])
            _send(copy.write_row, part.values)

    def _marked(self, part: Part) -> Part:
        """The rows with a mark at their end; a deletion has its key, and nothing else."""
        width = len(self._names)
        marked: list[tuple[Any, ...]] = []
        for value, key in zip(part.values, part.keys, strict=True):
            if value is not None:
                marked.append((*value, False))
                continue
            row = [None] * width
            for place, one in zip(self._key_places, key, strict=True):
                row[place] = one
            marked.append((*row, True))
        return Part(marked, part.keys)

    # From the staging table

    def _merge(self, *, deletes: bool) -> list[sql.Composed]:
        """The statements that bring staged rows into the table, in the order of their keys."""
        if self._settings.mode == "insert":
            text = "INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY {}"
            return [
                sql.SQL(text).format(self._table, self._listed, self._listed, self._staged, _NUMBER)
            ]
        statements: list[sql.Composed] = []
        if deletes:
            statements += [
                self._delete(sql.SQL("s.{}").format(_GONE)),
                # Rows before the deletion of their key are void, and so is the deletion now.
                sql.SQL(
                    "DELETE FROM {staged} AS s USING (SELECT {keys}, max({number}) AS last "
                    "FROM {staged} WHERE {gone} GROUP BY {keys}) AS d "
                    "WHERE {same} AND s.{number} <= d.last"
                ).format(
                    staged=self._staged,
                    keys=identifiers(self._keys),
                    number=_NUMBER,
                    gone=_GONE,
                    same=self._same("s", "d"),
                ),
            ]
        if self._settings.mode == "replace":
            if self._settings.newer is not None:
                statements.append(self._drop_older())
            statements.append(self._delete(sql.SQL("true")))
        statements.append(self._insert())
        return statements

    def _delete(self, which: sql.Composable) -> sql.Composed:
        """Delete the rows whose keys are staged; locked in the order of their keys."""
        return sql.SQL(
            "WITH held AS (SELECT {keys} FROM {table} AS t WHERE EXISTS (SELECT FROM {staged} AS s "
            "WHERE {same} AND {which}) ORDER BY {keys} FOR UPDATE) "
            "DELETE FROM {table} AS t USING held WHERE {held}"
        ).format(
            keys=identifiers(self._keys),
            table=self._table,
            staged=self._staged,
            which=which,
            same=self._same("t", "s"),
            held=self._same("t", "held"),
        )

    def _drop_older(self) -> sql.Composed:
        """Take staged rows out whose row in the table is newer."""
        newer = sql.Identifier(self._settings.newer or "")
        return sql.SQL(
            "DELETE FROM {} AS s USING {} AS t WHERE {} "
            "AND (t.{newer} > s.{newer} OR (s.{newer} IS NULL AND t.{newer} IS NOT NULL))"
        ).format(self._staged, self._table, self._same("t", "s"), newer=newer)

    def _insert(self) -> sql.Composed:
        """Insert the last row of each key; an upsert replaces the columns of a row that is there.

        The server compares the keys, and not Python: two texts may be one key to a collation.
        """
        newer = self._settings.newer
        last = sql.SQL("{} DESC").format(_NUMBER)
        if newer is not None:
            last = sql.SQL("{} DESC NULLS LAST, {}").format(sql.Identifier(newer), last)
        keys = identifiers(self._keys)
        insert = sql.SQL(
            "INSERT INTO {} AS t ({listed}) SELECT {listed} FROM (SELECT DISTINCT ON ({keys}) * "
            "FROM {} ORDER BY {keys}, {last}) AS s ORDER BY {keys}"
        ).format(self._table, self._staged, listed=self._listed, keys=keys, last=last)
        if self._settings.mode == "replace":
            return insert
        others = [name for name in self._names if name not in self._keys]
        if not others:
            return sql.SQL("{} ON CONFLICT ({}) DO NOTHING").format(insert, keys)
        sets = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in others
        )
        upsert = sql.SQL("{} ON CONFLICT ({}) DO UPDATE SET {}").format(insert, keys, sets)
        if newer is None:
            return upsert
        return sql.SQL("{} WHERE t.{newer} IS NULL OR t.{newer} <= excluded.{newer}").format(
            upsert, newer=sql.Identifier(newer)
        )

    def _same(self, one: str, other: str) -> sql.Composed:
        """Whether two rows have the same key."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(one, key), sql.Identifier(other, key))
            for key in self._keys
        )


def _send(write_row: Callable[[Sequence[Any]], None], values: Sequence[Sequence[Any]]) -> None:
    """Send rows.

    Raises:
        BadValue: The client cannot send a value.
        psycopg.Error: The connection was lost.
    """
    unsent = iter(values)
    try:
        for row in unsent:
            write_row(row)
    except psycopg.OperationalError:
        raise
    except Exception as error:
        raise BadValue(len(values) - length_hint(unsent) - 1, error) from error


def _oid(column: Column) -> int:
    """The type as which the client sends a column's values."""
    if column.kind is Kind.INT:
        name = _INTS[column.bits]
    elif column.kind is Kind.FLOAT:
        name = _FLOATS[column.bits]
    elif column.kind is Kind.JSON:
        name = column.type_name.removesuffix("[]")
    else:
        name = _TYPES[column.kind]
    info = registry[name]
    return info.array_oid if column.many else info.oid
