"""The columns of a table as the server describes them, and what an upsert needs of its indexes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from psycopg import sql

from kafka_etl.contracts import Column, Kind
from kafka_etl_connectors.postgres.connection import Connection, identifier

_KINDS: Final = {
    "bool": (Kind.BOOL, 64),
    "int2": (Kind.INT, 16),
    "int4": (Kind.INT, 32),
    "int8": (Kind.INT, 64),
    "float4": (Kind.FLOAT, 32),
    "float8": (Kind.FLOAT, 64),
    "numeric": (Kind.DECIMAL, 64),
    "text": (Kind.TEXT, 64),
    "varchar": (Kind.TEXT, 64),
    "bpchar": (Kind.TEXT, 64),
    "bytea": (Kind.BYTES, 64),
    "date": (Kind.DATE, 64),
    "time": (Kind.TIME, 64),
    "timestamp": (Kind.TIMESTAMP, 64),
    "timestamptz": (Kind.TIMESTAMP_TZ, 64),
    "uuid": (Kind.UUID, 64),
    "json": (Kind.JSON, 64),
    "jsonb": (Kind.JSON, 64),
}
"""Names of the server's own types; all others are parsed by the server from text."""

_COLUMNS: Final = """
SELECT a.attname, a.attnotnull OR t.typnotnull, a.atthasdef OR t.typdefault IS NOT NULL,
       a.attidentity::text, a.attgenerated::text, a.atttypmod,
       COALESCE(e.typname, t.typname)::text,
       COALESCE(e.typnamespace, t.typnamespace) = 'pg_catalog'::regnamespace, e.oid IS NOT NULL,
       format_type(a.atttypid, a.atttypmod)
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_TYPES: Final = """
SELECT format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass(%(table)s) AND attname = ANY (%(names)s) AND NOT attisdropped
ORDER BY array_position(%(names)s, attname::text)
"""
_KEYS: Final = """
SELECT array_agg(a.attname::text)
FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid
"""
_TABLES: Final = """
SELECT CASE WHEN pg_table_is_visible(oid) THEN relname::text
       ELSE relnamespace::regnamespace::text || '.' || relname END
FROM pg_class
WHERE relkind IN ('r', 'p', 'v', 'f') AND relnamespace::regnamespace::text NOT LIKE 'pg\\_%'
  AND relnamespace <> 'information_schema'::regnamespace
"""
_HEADER: Final = 4
"""The server adds the length of a header to the modifiers of `numeric` and `varchar`."""


def columns_of(connection: Connection, table: str) -> tuple[Column, ...]:
    """The columns of a table or view; empty: there is none of this name."""
    found = connection.execute(_COLUMNS, (_regclass(connection, table),)).fetchall()
    return tuple(map(_column, found))


def unique_keys(connection: Connection, table: str) -> list[frozenset[str]]:
    """Sets of columns on each of which a unique index stands that ON CONFLICT can use."""
    found = connection.execute(_KEYS, (_regclass(connection, table),)).fetchall()
    return [frozenset(row[0]) for row in found]


def table_names(connection: Connection) -> list[str]:
    """Tables and views of the database, with their schema where a bare name would not do."""
    return [row[0] for row in connection.execute(_TABLES).fetchall()]


def missing_rights(connection: Connection, table: str, rights: Sequence[str]) -> list[str]:
    """The rights on a table that the user has not, of those given."""
    name = _regclass(connection, table)
    found: list[str] = []
    for right in rights:
        ask = "has_table_privilege" if right == "DELETE" else "has_any_column_privilege"
        query = sql.SQL("SELECT {}(to_regclass(%s), %s)").format(sql.SQL(ask))
        row = connection.execute(query, (name, right)).fetchone()
        if row is None or not row[0]:
            found.append(right)
    return found


def is_unlogged(connection: Connection, table: str) -> bool:
    """Whether a crash of the server empties the table."""
    row = connection.execute(
        "SELECT relpersistence = 'u' FROM pg_class WHERE oid = to_regclass(%s)",
        (_regclass(connection, table),),
    ).fetchone()
    return row is not None and bool(row[0])


def changes(before: Sequence[Column], now: Sequence[Column]) -> str:
    """What has changed so that rows of the columns `before` no longer fit; empty: nothing has."""
    if not now:
        return "the table is gone"
    by_name = {column.name: column for column in now}
    found: list[str] = []
    for column in before:
        other = by_name.get(column.name)
        if other is None:
            found.append(f"column {column.name} is gone")
        elif base_type(other) != base_type(column) or (column.nullable and not other.nullable):
            null = "" if other.nullable else " NOT NULL"
            found.append(f"column {column.name} is {other.type_name}{null} now")
        elif not other.writable:
            found.append(f"column {column.name} is computed now")
    known = {column.name for column in before}
    found += [
        f"column {column.name} is new, and needs a value"
        for column in now
        if column.name not in known and column.writable and not column.optional
    ]
    return "; ".join(found)


def base_type(column: Column) -> str:
    """A column's type without its modifiers: `numeric` for `numeric(8, 2)`."""
    return re.sub(r"\([^()]*\)", "", column.type_name)


def types_of(connection: Connection, table: str, names: Sequence[str]) -> list[str]:
    """The types of these columns of a table, as `base_type`."""
    given = {"table": _regclass(connection, table), "names": list(names)}
    found = connection.execute(_TYPES, given).fetchall()
    return [row[0] for row in found]


def _regclass(connection: Connection, table: str) -> str:
    return identifier(table).as_string(connection)


def _column(row: tuple[Any, ...]) -> Column:
    name, not_null, default, identity, generated, modifier, base, built_in, many, shown = row
    kind, bits = _KINDS.get(base, (Kind.TEXT_FORM, 64)) if built_in else (Kind.TEXT_FORM, 64)
    column = Column(
        name=name,
        kind=kind,
        bits=bits,
        many=many,
        nullable=not not_null,
        optional=not not_null or default or bool(identity),
        writable=not generated and identity != "a",
        nul=kind is Kind.BYTES,
        type_name=shown,
    )
    if modifier < _HEADER:
        return column
    if kind is Kind.DECIMAL:
        packed = modifier - _HEADER
        scale = ((packed & 0x7FF) ^ 0x400) - 0x400  # eleven bits, and the highest is the sign
        return replace(column, precision=packed >> 16 & 0xFFFF, scale=scale)
    if base in ("varchar", "bpchar") and kind is Kind.TEXT:
        return replace(column, length=modifier - _HEADER)
    return column
