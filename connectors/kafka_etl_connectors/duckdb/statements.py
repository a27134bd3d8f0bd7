"""The statements that bring a batch into the table, from the views that the store registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafka_etl.contracts import Column
from kafka_etl.sql_tables import on_conflict, quoted
from kafka_etl_connectors.duckdb.settings import DuckdbSettings

ROWS: Final = "kafka_etl_rows"
"""View of the rows: their columns, and `POSITION`."""
GONE: Final = "kafka_etl_gone"
"""View of the deletions: the columns of the key, and `POSITION`."""
POSITION: Final = "kafka_etl_position"


def insert(
    settings: DuckdbSettings, columns: Sequence[Column], table_columns: Sequence[Column]
) -> str:
    """The statement that writes the rows: of each key the last one, or the newest.

    DuckDB compares the keys, and not Python.

    Args:
        settings: The table and the mode.
        columns: The columns that every row sets.
        table_columns: All columns of the table.
    """
    listed = ", ".join(quoted(column.name) for column in columns)
    head = f"INSERT INTO {quoted(settings.table)} ({listed})"
    if settings.mode == "insert":
        return f"{head} SELECT {listed} FROM {ROWS}"
    keys = ", ".join(map(quoted, settings.key_columns))
    newest = f"{POSITION} DESC"
    if settings.newer is not None:
        newest = f"{quoted(settings.newer)} DESC NULLS LAST, {newest}"
    return (
        f"{head} SELECT {listed} FROM ({_typed(columns)}) AS r "
        f"WHERE NOT EXISTS (SELECT 1 FROM {GONE} AS d WHERE {_same(settings, columns, 'r')} "
        f"AND d.{POSITION} > r.{POSITION}) "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {newest}) = 1 "
        f"{on_conflict(settings, columns, table_columns)}"
    )


def delete(settings: DuckdbSettings, columns: Sequence[Column]) -> str:
    """The statement that deletes the rows with the keys of `GONE`."""
    table = quoted(settings.table)
    return f"DELETE FROM {table} AS t USING {GONE} AS d WHERE {_same(settings, columns, 't')}"


def twins(unique: Sequence[str], columns: Sequence[Column]) -> str:
    """The query for positions of rows that repeat unique columns of an earlier row."""
    names = ", ".join(map(quoted, unique))
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in unique)
    return (
        f"SELECT {POSITION} FROM ({_typed(columns)}) WHERE {known} "
        f"QUALIFY row_number() OVER (PARTITION BY {names} ORDER BY {POSITION}) > 1"
    )


def _typed(columns: Sequence[Column]) -> str:
    """The rows with the types of the table: some arrive as text."""
    names = [quoted(column.name) for column in columns]
    casts = [
        f"{_cast(name, column)} AS {name}" for name, column in zip(names, columns, strict=True)
    ]
    return f"SELECT {', '.join(casts)}, {POSITION} FROM {ROWS}"


def _same(settings: DuckdbSettings, columns: Sequence[Column], alias: str) -> str:
    """Whether a row has the key of a deletion."""
    return " AND ".join(
        f"{alias}.{quoted(column.name)} = {_cast(f'd.{quoted(column.name)}', column)}"
        for column in columns
        if column.name in settings.key_columns
    )


def _cast(name: str, column: Column) -> str:
    return f"CAST({name} AS {column.type_name})"
