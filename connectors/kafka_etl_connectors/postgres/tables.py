"""Rows into several tables with the same columns, each row into one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kafka_etl.contracts import Column, Rows
from kafka_etl_connectors.postgres.connection import Connection
from kafka_etl_connectors.postgres.parts import BadValue, Part
from kafka_etl_connectors.postgres.settings import PostgresSettings
from kafka_etl_connectors.postgres.writing import TableWriter


class TablesWriter:
    """Writes rows within the transaction under way, table after table as the settings name them.

    Args:
        settings: The tables and the mode.
        columns: The columns that every row sets.
    """

    def __init__(self, settings: PostgresSettings, columns: Sequence[Column]) -> None:
        each = settings.each_table()
        self.names = [one.table for one in each]
        self._writers = [TableWriter(one, columns, number) for number, one in enumerate(each)]
        self._places: dict[str | None, int] = {name: at for at, name in enumerate(self.names)}
        self._places[None] = 0
        self._columns = [column.name for column in columns]

    @property
    def staged(self) -> bool:
        """Whether rows go by staging tables."""
        return self._writers[0].staged

    def stage(self) -> None:
        """Rows go by staging tables from here on."""
        for writer in self._writers:
            writer.staged = True

    def part_of(self, rows: Rows) -> Part:
        """All rows, with the number of the table of each."""
        part = Part.of(rows, self._columns)
        if rows.destinations is None:
            return part
        return replace(part, places=[self._places[place] for place in rows.destinations])

    def prepare(self, connection: Connection, *, ends_with_commit: bool) -> None:
        """See `TableWriter.prepare`."""
        for writer in self._writers:
            writer.prepare(connection, ends_with_commit=ends_with_commit)

    def write(self, connection: Connection, part: Part) -> None:
        """See `TableWriter.write`."""
        for writer, own, positions in self._by_table(part):
            try:
                writer.write(connection, own)
            except BadValue as error:
                raise BadValue(positions[error.position], error.error) from error

    def is_sound(self, connection: Connection, part: Part) -> bool:
        """See `TableWriter.is_sound`."""
        return all(writer.is_sound(connection, own) for writer, own, _ in self._by_table(part))

    def clear(self, connection: Connection) -> None:
        """See `TableWriter.clear`."""
        for writer in self._writers:
            writer.clear(connection)

    def _by_table(self, part: Part) -> Iterator[tuple[TableWriter, Part, Sequence[int]]]:
        """Each table with its rows, and their positions among all."""
        if part.places is None:
            yield self._writers[0], part, range(len(part))
            return
        for number, writer in enumerate(self._writers):
            positions = [at for at, place in enumerate(part.places) if place == number]
            if positions:
                yield writer, part.pick(positions), positions
