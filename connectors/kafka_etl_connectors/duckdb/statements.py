"""The statements that bring a batch into a table, from the views that the store registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafka_etl.contracts import Column
from kafka_etl.sql_tables import on_conflict, quoted
from kafka_etl_connectors.duckdb.settings import DuckdbSettings

ROWS: Final = "kafka_etl_rows"
"""View of the rows: their columns, `POSITION` and `PLACE`."""
GONE: Final = "kafka_etl_gone"
"""View of the deletions: the columns of the key, `POSITION` and `PLACE`."""
POSITION: Final = "kafka_etl_position"
PLACE: Final = "kafka_etl_place"
"""The table of a row; only where the sink has several tables."""


class TableStatements:
    """The statements for one table. DuckDB compares keys, and not Python.

    Args:
        settings: The table and the mode.
        columns: The columns that every row sets.
        table_columns: All columns of the table.
        alone: Whether all rows of the views are the table's.

    Attributes:
        table: Name of the table.
        insert: Writes the rows: of each key the last one, or the newest.
        delete: Deletes the rows with the keys of `GONE`.
    """

    def __init__(
        self,
        settings: DuckdbSettings,
        columns: Sequence[Column],
        table_columns: Sequence[Column],
        *,
        alone: bool,
    ) -> None:
        self.table = settings.table
        self._columns = columns
        self._keys = settings.key_columns
        name = settings.table.replace("'", "''")
        which = "" if alone else f" WHERE {PLACE} = '{name}'"
        self._rows = f"(SELECT * FROM {ROWS}{which})"
        self._gone = f"(SELECT * FROM {GONE}{which})"
        table = quoted(settings.table)
        self.delete = f"DELETE FROM {table} AS t USING {self._gone} AS d WHERE {self._same('t')}"
        listed = ", ".join(quoted(column.name) for column in columns)
        if settings.mode == "insert":
            self.insert = f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {self._rows}"
            return
        last = f"{POSITION} DESC"
        if settings.newer is not None:
            last = f"{quoted(settings.newer)} DESC NULLS LAST, {last}"
        self.insert = (
            f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {self._typed()} AS r "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._gone} AS d "
            f"WHERE {self._same('r')} AND d.{POSITION} > r.{POSITION}) "
            f"QUALIFY {_nth(settings.key_columns, last)} = 1 "
            f"{on_conflict(settings, columns, table_columns)}"
        )

    def twins(self, unique: Sequence[str]) -> str:
        """The query for positions of rows that repeat unique columns of an earlier row."""
        known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in unique)
        return (
            f"SELECT {POSITION} FROM {self._typed()} WHERE {known} "
            f"QUALIFY {_nth(unique, POSITION)} > 1"
        )

    def _typed(self) -> str:
        """The rows with the types of the table: some arrive as text."""
        names = [(quoted(column.name), column) for column in self._columns]
        casts = [f"{_cast(name, column)} AS {name}" for name, column in names]
        return f"(SELECT {', '.join(casts)}, {POSITION} FROM {self._rows})"

    def _same(self, alias: str) -> str:
        """Whether a row has the key of a deletion."""
        return " AND ".join(
            f"{alias}.{quoted(column.name)} = {_cast(f'd.{quoted(column.name)}', column)}"
            for column in self._columns
            if column.name in self._keys
        )


def _nth(names: Sequence[str], order: str) -> str:
    """The number of a row among those with the same values, from 1."""
    alike = ", ".join(map(quoted, names))
    return f"row_number() OVER (PARTITION BY {alike} ORDER BY {order})"


def _cast(name: str, column: Column) -> str:
    return f"CAST({name} AS {column.type_name})"
