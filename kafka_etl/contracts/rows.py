"""The rows that a sink's author is given: the outputs of a settlement, in columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kafka_etl.invocation import Outputs
from kafka_etl.record import Headers, SourceRecord, offset_of, partition_of

if TYPE_CHECKING:
    import pyarrow as pa

Identify = Callable[[SourceRecord], str]
"""Source record -> the part of a row's id that names the record."""


class Rows:
    """Rows for a target, in columns of equal length, in the order of their source records.

    Attributes:
        values: One value per row. Of a sink that takes bytes: encoded values, None for a tombstone.
            Of a table sink: tuples in the order of the table's columns, None for a deletion by key;
            empty where `table` holds the values.
        table: The values as an Arrow table, from columnar operators; None: in `values`.
        keys: Keys in bytes, or as the sink's `key:` says for a table sink; None for none.
        headers: Headers of each row; None: no row has any.
        timestamps: Milliseconds since the epoch of each row, 0 for none; None: no row has one.
        destinations: Where an operator or an expression sends each row, such as a topic, a path or
            a table; an entry of None is the sink's own place; None: all are.
        sources: The source record of each row; None where a row belongs to many records.
    """

    __slots__ = (
        "_identify", "_ids", "destinations", "headers", "keys", "sources", "table", "timestamps",
        "values",
    )  # fmt: skip

    def __init__(
        self, outputs: Outputs, sources: Sequence[SourceRecord | None], identify: Identify
    ) -> None:
        self.values: Sequence[Any] = outputs.values
        self.table: pa.Table | None = outputs.table
        self.keys: Sequence[Any] = outputs.keys
        self.headers: Sequence[Headers | None] | None = outputs.headers
        self.timestamps: Sequence[int] | None = outputs.timestamps
        self.destinations: Sequence[str | None] | None = outputs.topics
        self.sources: Sequence[SourceRecord | None] = sources
        self._identify = identify
        self._ids: list[str | None] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def ids(self) -> Sequence[str | None]:
        """A name of each row that is the same in every run: `NAME/TOPIC-ID/GEN/PARTITION/OFFSET/I`.

        None for a row that belongs to many records. `I` counts the rows of one record.
        """
        if self._ids is None:
            seen: Counter[int] = Counter()
            self._ids = []
            for source in self.sources:
                if source is None:
                    self._ids.append(None)
                else:
                    self._ids.append(f"{self._identify(source)}/{seen[id(source)]}")
                    seen[id(source)] += 1
        return self._ids

    def take(self, positions: Sequence[int]) -> Rows:
        """The rows at these positions, in this order, under the ids that they have here."""

        def pick(column: Any) -> Any:
            return None if column is None else [column[p] for p in positions]

        made = Rows.__new__(Rows)
        made.table = None if self.table is None else self.table.take(list(positions))
        made.values = [] if self.table is not None else pick(self.values)
        made.keys = pick(self.keys)
        made.headers = pick(self.headers)
        made.timestamps = pick(self.timestamps)
        made.destinations = pick(self.destinations)
        made.sources = pick(self.sources)
        made._identify = self._identify  # noqa: SLF001 - of the same class
        made._ids = pick(self.ids)  # noqa: SLF001
        return made

    def __iter__(self) -> Iterator[Row]:
        return (Row(self, position) for position in range(len(self)))


class Row:
    """One row, for authors who look at one at a time; see `Rows` for the attributes."""

    __slots__ = ("_rows", "position")

    def __init__(self, rows: Rows, position: int) -> None:
        self._rows = rows
        self.position: int = position

    @property
    def value(self) -> Any:
        return self._rows.values[self.position]

    @property
    def key(self) -> Any:
        return self._rows.keys[self.position]

    @property
    def headers(self) -> Headers:
        headers = self._rows.headers
        return [] if headers is None else headers[self.position] or []

    @property
    def timestamp(self) -> int:
        stamps = self._rows.timestamps
        return 0 if stamps is None else stamps[self.position]

    @property
    def destination(self) -> str | None:
        destinations = self._rows.destinations
        return None if destinations is None else destinations[self.position]

    @property
    def id(self) -> str | None:
        return self._rows.ids[self.position]

    @property
    def source(self) -> SourceRecord | None:
        return self._rows.sources[self.position]


def place_of(source: SourceRecord) -> str:
    """`TOPIC[PARTITION]@OFFSET` of a source record, for messages."""
    return f"{partition_of(source)}@{offset_of(source)}"
