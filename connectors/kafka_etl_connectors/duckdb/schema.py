"""A DuckDB file's tables: reading their columns, and checking their keys."""

from __future__ import annotations

import re
from typing import Any, Final

from kafka_etl.contracts import Column, Kind
from kafka_etl.errors import SinkFailed
from kafka_etl.sql_tables import quoted
from kafka_etl_connectors.duckdb.settings import DuckdbSettings

_KINDS: Final = {
    "BOOLEAN": (Kind.BOOL, 0),
    "TINYINT": (Kind.INT, 8),
    "SMALLINT": (Kind.INT, 16),
    "INTEGER": (Kind.INT, 32),
    "BIGINT": (Kind.INT, 64),
    "HUGEINT": (Kind.INT, 128),
    "UTINYINT": (Kind.INT, 16),
    "USMALLINT": (Kind.INT, 32),
    "UINTEGER": (Kind.INT, 64),
    "UBIGINT": (Kind.INT, 128),
    "FLOAT": (Kind.FLOAT, 32),
    "DOUBLE": (Kind.FLOAT, 64),
    "DECIMAL": (Kind.DECIMAL, 0),
    "VARCHAR": (Kind.TEXT, 0),
    "BLOB": (Kind.BYTES, 0),
    "DATE": (Kind.DATE, 0),
    "TIME": (Kind.TIME, 0),
    "TIMESTAMP": (Kind.TIMESTAMP, 0),
    "TIMESTAMP_S": (Kind.TIMESTAMP, 0),
    "TIMESTAMP_MS": (Kind.TIMESTAMP, 0),
    "TIMESTAMP_NS": (Kind.TIMESTAMP, 0),
    "TIMESTAMP WITH TIME ZONE": (Kind.TIMESTAMP_TZ, 0),
    "UUID": (Kind.UUID, 0),
    "JSON": (Kind.JSON, 0),
}
"""DuckDB's type -> kind and bits; of an unsigned type the bits that hold all of its values."""
_DIGITS: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def columns_of(connection: Any, table: str) -> tuple[Column, ...]:
    """The columns of a table of the file's main schema; empty: there is no such table."""
    found = connection.execute(
        "SELECT column_name, data_type, is_nullable, column_default, is_generated "
        "FROM duckdb_columns() WHERE table_name = ? AND schema_name = 'main' AND NOT internal "
        "ORDER BY column_index",
        [table],
    ).fetchall()
    return tuple(_column(*row) for row in found)


def _column(name: str, declared: str, nullable: Any, default: Any, generated: Any) -> Column:
    many = declared.endswith("[]")
    base = declared.removesuffix("[]")
    digits = _DIGITS.fullmatch(base)
    kind, bits = _KINDS.get("DECIMAL" if digits else base, (Kind.TEXT_FORM, 0))
    return Column(
        name=name,
        kind=kind,
        bits=bits,
        precision=int(digits[1]) if digits else None,
        scale=int(digits[2]) if digits else None,
        many=many,
        nullable=bool(nullable),
        optional=bool(nullable) or default is not None,
        writable=not generated,
        type_name=declared,
    )


def check_table(connection: Any, settings: DuckdbSettings) -> None:
    """Check that the table is one, and has a unique constraint exactly on `key` for an upsert.

    Raises:
        SinkFailed: It is a view, or has no such constraint.
    """
    views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    if (settings.table,) in views:
        raise SinkFailed(f"{settings.table} is a view", "Write into a table.")
    if settings.mode == "insert":
        return
    if set(settings.key_columns) not in unique_columns(connection, settings.table):
        names = ", ".join(map(quoted, settings.key_columns))
        raise SinkFailed(
            f"table {settings.table} has no PRIMARY KEY or UNIQUE exactly on ({names}), which "
            f"`mode: {settings.mode}` needs",
            "Create the table with one: DuckDB adds none to a table that is there.",
        )


def unique_columns(connection: Any, table: str) -> list[set[str]]:
    """The columns of each PRIMARY KEY and UNIQUE of a table."""
    found = connection.execute(
        "SELECT constraint_column_names FROM duckdb_constraints() WHERE table_name = ? "
        "AND schema_name = 'main' AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')",
        [table],
    ).fetchall()
    return [set(row[0]) for row in found]


def is_held(said: str) -> bool:
    """Whether DuckDB's words mean that another process has the file."""
    return "could not set lock" in said.lower()


def letters_ddl(table: str) -> str:
    """The statement that makes the table of dead letters."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table)} "
        '("at" TIMESTAMPTZ DEFAULT now(), letter JSON NOT NULL)'
    )
