"""Rows on their way into a table: copied straight, or by way of a temporary table.

Rows that are copied straight cost the least. The temporary table serves upserts, tables that COPY
does not take (views, row-level security), and the search for the rows that the server refuses: they
travel once, and are then inserted in ever smaller ranges.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from kafka_etl.contracts import Column, Kind, Refused, Rows, Unreachable
from kafka_etl_connectors.postgres.errors import is_of_a_row, refused
from kafka_etl_connectors.postgres.session import Session, query, table
from kafka_etl_connectors.postgres.settings import PostgresSettings

_STAGE: Final = sql.Identifier("pg_temp", "kafka_etl_rows")
_ROW: Final = sql.Identifier("kafka_etl_row")
_ALIKE: Final = 64
"""Rows refused with one SQLSTATE, and none accepted, before the table is to blame."""
_NO_COPY: Final = frozenset({"0A000", "42809"})
"""COPY into a view, or into a table with row-level security."""


@dataclass(frozen=True, slots=True)
class Staging:
    """How the rows of a pipeline come into its table.

    Attributes:
        settings: The table and the mode.
        columns: Columns that every row sets.
    """

    settings: PostgresSettings
    columns: Sequence[Column]

    def copy(self, session: Session, rows: Rows) -> None:
        """Copy all rows straight into the table.

        Raises:
            psycopg.Error: The server refuses a row, or COPY itself.
        """
        self._copy(session, rows, table(self.settings.table), None)

    def stage(self, session: Session, rows: Rows, positions: Sequence[int]) -> None:
        """Copy rows into the temporary table, under their positions."""
        kept = "DROP" if self.settings.pooling == "transaction" else "DELETE ROWS"
        session.execute(
            query(
                "CREATE TEMP TABLE IF NOT EXISTS kafka_etl_rows "
                f"ON COMMIT {kept} AS SELECT {{}}, 0::bigint AS {{}} FROM {{}} WITH NO DATA"
            ).format(self._names(), _ROW, table(self.settings.table))
        )
        session.execute(query("DELETE FROM {}").format(_STAGE))
        chosen = rows if len(positions) == len(rows) else rows.take(positions)
        self._copy(session, chosen, _STAGE, positions)

    def insert(self, session: Session, positions: Sequence[int]) -> dict[int, Refused]:
        """Insert the staged rows, in ever smaller ranges where the server refuses one.

        Returns:
            Position -> verdict of every row that the server refuses.

        Raises:
            Unreachable: The server refuses row after row for the same reason, and takes none.
        """
        bad: dict[int, Refused] = {}
        taken = 0
        ranges = [(0, len(positions))]
        while ranges:
            low, high = ranges.pop()
            try:
                with session.transaction():
                    self._insert_range(session, positions[low], positions[high - 1])
                    session.execute("SET CONSTRAINTS ALL IMMEDIATE")
            except psycopg.Error as error:
                if not is_of_a_row(error):
                    raise
                if high - low > 1:
                    middle = (low + high) // 2
                    ranges += [(middle, high), (low, middle)]
                    continue
                bad[positions[low]] = refused(error)
                if len(bad) >= _ALIKE and not taken and len({v.code for v in bad.values()}) == 1:
                    raise Unreachable(
                        f"PostgreSQL refuses every row: {error.diag.message_primary}", mend=True
                    ) from error
            else:
                taken += high - low
        return bad

    def delete(self, session: Session, keys: Sequence[tuple[Any, ...]]) -> None:
        """Delete the rows with these keys."""
        if not keys:
            return
        tests = sql.SQL(" AND ").join(
            query("{} = {}").format(sql.Identifier(name), sql.Placeholder())
            for name in self.settings.key_columns
        )
        statement = query("DELETE FROM {} WHERE {}").format(table(self.settings.table), tests)
        with session.cursor() as cursor:
            cursor.executemany(statement, keys)

    def _names(self) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier(column.name) for column in self.columns)

    def _insert_range(self, session: Session, first: int, last: int) -> None:
        settings, name = self.settings, table(self.settings.table)
        keys = sql.SQL(", ").join(map(sql.Identifier, settings.key_columns))
        tail: sql.Composable = sql.SQL("")
        if settings.mode == "replace":
            same = sql.SQL(" AND ").join(
                query("t.{} = s.{}").format(sql.Identifier(key), sql.Identifier(key))
                for key in settings.key_columns
            )
            session.execute(
                query("DELETE FROM {} t USING {} s WHERE {} AND s.{} BETWEEN %s AND %s").format(
                    name, _STAGE, same, _ROW
                ),
                [first, last],
            )
        elif settings.mode == "upsert":
            tail = self._on_conflict(keys)
        order = keys if settings.key_columns else _ROW
        session.execute(
            query(
                "INSERT INTO {} AS t ({}) SELECT {} FROM {} WHERE {} BETWEEN %s AND %s "
                "ORDER BY {} {}"
            ).format(name, self._names(), self._names(), _STAGE, _ROW, order, tail),
            [first, last],
        )

    def _on_conflict(self, keys: sql.Composed) -> sql.Composed:
        others = [c.name for c in self.columns if c.name not in self.settings.key_columns]
        if not others:
            return query("ON CONFLICT ({}) DO NOTHING").format(keys)
        sets = sql.SQL(", ").join(
            query("{} = EXCLUDED.{}").format(sql.Identifier(name), sql.Identifier(name))
            for name in others
        )
        newer: sql.Composable = sql.SQL("")
        if self.settings.newer is not None:
            column = sql.Identifier(self.settings.newer)
            newer = query("WHERE t.{} < EXCLUDED.{}").format(column, column)
        return query("ON CONFLICT ({}) DO UPDATE SET {} {}").format(keys, sets, newer)

    def _copy(
        self,
        session: Session,
        rows: Rows,
        into: sql.Identifier,
        positions: Sequence[int] | None,
    ) -> None:
        """COPY rows; with positions, these are the last column.

        In binary where each type has a binary form that clients know; else as text. An Arrow table
        goes as CSV, which its own library writes without a Python object for each row.
        """
        names = self._names()
        if positions is not None:
            names = sql.SQL(", ").join([names, _ROW])
        if rows.table is not None:
            statement = query("COPY {} ({}) FROM STDIN (FORMAT csv)").format(into, names)
            with session.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(_as_csv(rows.table, positions))
            return
        binary = all(column.kind is not Kind.TEXT_FORM for column in self.columns)
        form = "binary" if binary else "text"
        statement = query(f"COPY {{}} ({{}}) FROM STDIN (FORMAT {form})").format(into, names)
        with session.cursor() as cursor, cursor.copy(statement) as copy:
            if binary:
                types = [column.type_name for column in self.columns]
                copy.set_types(types if positions is None else [*types, "int8"])
            write = copy.write_row
            if positions is None:
                for value in rows.values:
                    write(value)
            else:
                for value, position in zip(rows.values, positions, strict=True):
                    write((*value, position))


def _as_csv(arrow: Any, positions: Sequence[int] | None) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - an extra, which has made the table
    from pyarrow import csv  # noqa: PLC0415

    if positions is not None:
        arrow = arrow.append_column("kafka_etl_row", pa.array(positions, pa.int64()))
    out = io.BytesIO()
    csv.write_csv(arrow, out, csv.WriteOptions(include_header=False))
    return out.getvalue()


def copy_is_refused(error: psycopg.Error) -> bool:
    """Whether the server takes no COPY into this table, whatever the rows are."""
    return error.sqlstate in _NO_COPY


def last_of_keys(rows: Rows) -> tuple[list[int], list[Any]]:
    """The newest row of each key, as positions of rows to write and keys of rows to delete."""
    newest: Mapping[Any, int] = dict(zip(rows.keys, range(len(rows)), strict=True))
    if rows.table is not None:
        return sorted(newest.values()), []
    write = sorted(at for at in newest.values() if rows.values[at] is not None)
    return write, [key for key, at in newest.items() if rows.values[at] is None]
