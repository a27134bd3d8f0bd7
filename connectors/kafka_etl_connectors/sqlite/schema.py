"""A SQLite database's tables: reading their columns, and checking their keys."""

from __future__ import annotations

import sqlite3
from typing import Final

from kafka_etl.contracts import Column, Kind
from kafka_etl.errors import SinkFailed
from kafka_etl.sql_tables import quoted
from kafka_etl_connectors.sqlite.settings import SqliteSettings

_COMPUTED: Final = frozenset({2, 3})
"""Values of `hidden` in `table_xinfo` for generated columns."""
_AFFINITIES: Final = (
    ("INT", Kind.INT),
    ("BOOL", Kind.BOOL),
    ("CHAR", Kind.TEXT),
    ("CLOB", Kind.TEXT),
    ("TEXT", Kind.TEXT),
    ("JSON", Kind.JSON),
    ("UUID", Kind.UUID),
    ("BLOB", Kind.BYTES),
    ("REAL", Kind.FLOAT),
    ("FLOA", Kind.FLOAT),
    ("DOUB", Kind.FLOAT),
)
"""Parts of a declared type -> the kind, in SQLite's own order of preference."""


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    """The columns of a table; empty: there is no such table."""
    found = connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
    keys = [row for row in found if row[5]]
    return tuple(_column(row, is_rowid=_is_rowid(row, keys)) for row in found)


def _is_rowid(row: tuple[object, ...], keys: list[tuple[object, ...]]) -> bool:
    return len(keys) == 1 and keys[0] is row and str(row[2]).upper() == "INTEGER"


def _column(row: tuple[object, ...], *, is_rowid: bool) -> Column:
    _, name, declared, not_null, default, in_key, hidden = row
    kind_name = str(declared).upper()
    nullable = is_rowid or (not not_null and not in_key)  # SQLite numbers a row without an id
    return Column(
        name=str(name),
        kind=next((kind for part, kind in _AFFINITIES if part in kind_name), Kind.TEXT_FORM),
        nullable=nullable,
        optional=nullable or default is not None,
        writable=hidden not in _COMPUTED,
        type_name=str(declared),
    )


def check_table(connection: sqlite3.Connection, settings: SqliteSettings) -> None:
    """Check that the table is one, and has a unique index exactly on `key` for an upsert.

    Raises:
        SinkFailed: It is a view, or has no such index.
    """
    kinds = connection.execute(
        "SELECT type FROM sqlite_master WHERE name = ? COLLATE NOCASE", [settings.table]
    ).fetchall()
    if ("view",) in kinds:
        raise SinkFailed(f"{settings.table} is a view", "Write into a table.")
    if settings.mode == "insert":
        return
    wanted = set(settings.key_columns)
    primary = {
        row[1]
        for row in connection.execute(f"PRAGMA table_info({quoted(settings.table)})")
        if row[5]
    }
    found = [primary]
    for row in connection.execute(f"PRAGMA index_list({quoted(settings.table)})").fetchall():
        if row[2] and not row[4]:
            index = connection.execute(f"PRAGMA index_info({quoted(row[1])})")
            found.append({part[2] for part in index})
    if wanted not in found:
        names = ", ".join(map(quoted, settings.key_columns))
        raise SinkFailed(
            f"table {settings.table} has no unique index exactly on {names}, which `mode: "
            f"{settings.mode}` needs",
            f"CREATE UNIQUE INDEX {settings.table}_key ON {quoted(settings.table)} ({names});",
        )


def is_held(error: sqlite3.Error) -> bool:
    """Whether another connection has the file."""
    return primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def primary_code(error: sqlite3.Error) -> int:
    """The primary error code; extended codes hold it in their lowest byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def letters_ddl(table: str) -> str:
    """The statement that makes the table of dead letters."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table)} (id INTEGER PRIMARY KEY, "
        "at TEXT DEFAULT CURRENT_TIMESTAMP, letter JSON NOT NULL)"
    )
