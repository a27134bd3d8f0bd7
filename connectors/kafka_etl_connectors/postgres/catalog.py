"""The catalogue of the database: columns of tables, unique indexes, and the tables of ours."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final

from kafka_etl.contracts import Column, Kind
from kafka_etl.errors import SinkFailed
from kafka_etl_connectors.postgres.session import Session, query, table
from kafka_etl_connectors.postgres.settings import PostgresSettings

_COLUMNS: Final = """
SELECT a.attname, t.typname, e.typname, a.attnotnull, a.atthasdef OR a.attidentity <> '',
       a.attgenerated <> '' OR a.attidentity = 'a', a.atttypmod
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_TABLES: Final = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
_UNIQUE: Final = """
SELECT array_agg(a.attname::text)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
  AND i.indexprs IS NULL AND i.indisvalid
GROUP BY i.indexrelid
"""
_OFFSETS: Final = """
CREATE TABLE IF NOT EXISTS {} (
  name text, cluster text, topic text, part integer, topic_id text NOT NULL, next bigint NOT NULL,
  generation bigint NOT NULL, grp text NOT NULL, PRIMARY KEY (name, cluster, topic, part)
) WITH (fillfactor = 50)
"""
_LETTERS: Final = """
CREATE TABLE IF NOT EXISTS {} (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(),
  letter jsonb NOT NULL
)
"""
_OUR_LOCK: Final = 6_034_812_277
"""Of the advisory lock under which the framework changes tables."""
_HEADER: Final = 4
"""What `atttypmod` adds to a length, a precision or a scale."""

_KINDS: Final = {
    "int2": (Kind.INT, 16),
    "int4": (Kind.INT, 32),
    "int8": (Kind.INT, 64),
    "float4": (Kind.FLOAT, 32),
    "float8": (Kind.FLOAT, 64),
    "numeric": (Kind.DECIMAL, 0),
    "text": (Kind.TEXT, 0),
    "varchar": (Kind.TEXT, 0),
    "bpchar": (Kind.TEXT, 0),
    "bytea": (Kind.BYTES, 0),
    "bool": (Kind.BOOL, 0),
    "date": (Kind.DATE, 0),
    "time": (Kind.TIME, 0),
    "timestamp": (Kind.TIMESTAMP, 0),
    "timestamptz": (Kind.TIMESTAMP_TZ, 0),
    "uuid": (Kind.UUID, 0),
    "json": (Kind.JSON, 0),
    "jsonb": (Kind.JSON, 0),
}
"""Types that are sent in binary; all others (enums, domains, geometries) are sent as text."""


def columns_of(session: Session, name: str) -> tuple[Column, ...]:
    """The columns of a table; empty: there is no such table."""
    found = session.execute(query(_COLUMNS), [table(name).as_string(session)]).fetchall()
    return tuple(map(_column, found))


def _column(row: tuple[Any, ...]) -> Column:
    name, type_name, element, not_null, has_default, computed, modifier = row
    base = element or type_name
    kind, bits = _KINDS.get(base, (Kind.TEXT_FORM, 0))
    length = precision = scale = None
    if base in {"varchar", "bpchar"} and modifier >= _HEADER:
        length = modifier - _HEADER
    if base == "numeric" and modifier >= _HEADER:
        precision = ((modifier - _HEADER) >> 16) & 0xFFFF
        scale = (modifier - _HEADER) & 0x7FF
    return Column(
        name=name,
        kind=kind,
        bits=bits,
        precision=precision,
        scale=scale,
        length=length,
        many=element is not None,
        nullable=not not_null,
        optional=not not_null or has_default,
        writable=not computed,
        nul=False,
        type_name=f"{element}[]" if element else type_name,
    )


def prepare(session: Session, settings: PostgresSettings, letters: str | None) -> tuple[str, ...]:
    """Make the tables of offsets and dead letters, and the user's where the settings say so.

    Returns:
        The statements on the user's table.

    Raises:
        SinkFailed: The table is missing, or cannot be made.
    """
    made: list[str] = []
    with session.transaction():
        session.execute("SELECT set_config('lock_timeout', '5s', true)")
        session.execute("SELECT pg_advisory_xact_lock(%s)", [_OUR_LOCK])
        session.execute(query(_OFFSETS).format(table(settings.offsets.table)))
        if letters is not None:
            session.execute(query(_LETTERS).format(table(letters)))
        there = {column.name for column in columns_of(session, settings.table)}
        for statement in _wanted(session, settings, there):
            session.execute(query(statement))
            made.append(statement)
    return tuple(made)


def _wanted(session: Session, settings: PostgresSettings, there: set[str]) -> list[str]:
    """The statements that make the user's table, or add its missing columns."""
    name = table(settings.table).as_string(session)
    types = {table_column(session, column): kind for column, kind in settings.types.items()}
    if there:
        if not settings.evolve:
            return []
        return [
            f"ALTER TABLE {name} ADD COLUMN {table_column(session, column)} {kind}"
            for column, kind in settings.types.items()
            if column not in there
        ]
    if not settings.create:
        tables = [row[0] for row in session.execute(query(_TABLES))]
        near = get_close_matches(settings.table.rpartition(".")[2], tables, 1)
        raise SinkFailed(
            f"there is no table {settings.table} at {settings.place}",
            (f"Did you mean {near[0]}? " if near else "")
            + "Create it, or say `create: true` and give `types: {column: type}`.",
        )
    if not types:
        raise SinkFailed(
            f"table {settings.table} cannot be created without `types`",
            "Give `types: {id: bigint, …}` under sink.with.",
        )
    fields = [f"{column} {kind}" for column, kind in types.items()]
    if settings.key_columns:
        keys = ", ".join(table_column(session, column) for column in settings.key_columns)
        fields.append(f"PRIMARY KEY ({keys})")
    return [f"CREATE TABLE {name} ({', '.join(fields)})"]


def table_column(session: Session, name: str) -> str:
    """The name of a column as SQL."""
    return table(name.replace(".", "\0")).as_string(session).replace("\0", ".")


def check_key(session: Session, settings: PostgresSettings) -> None:
    """Check that a unique index stands exactly on `key`, which an upsert needs.

    Raises:
        SinkFailed: There is none.
    """
    if settings.mode == "insert":
        return
    name = table(settings.table).as_string(session)
    found = [set(row[0]) for row in session.execute(query(_UNIQUE), [name])]
    if set(settings.key_columns) not in found:
        keys = ", ".join(table_column(session, column) for column in settings.key_columns)
        raise SinkFailed(
            f"table {settings.table} has no unique index exactly on ({keys}), neither partial nor "
            f"deferrable, which `mode: {settings.mode}` needs",
            f"CREATE UNIQUE INDEX ON {name} ({keys});",
        )
