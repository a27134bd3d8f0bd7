"""Rows for the doors of sinks, as the engine would give them."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_etl.contracts import Rows
from kafka_etl.invocation import Outputs
from kafka_etl.record import Headers, SourceRecord


class Source:
    """A source record; implements `kafka_etl.record.SourceRecord`."""

    def __init__(self, key: bytes | None, offset: int) -> None:
        self._key = key
        self._offset = offset

    def topic(self) -> str:
        return "in"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return b""

    def headers(self) -> Headers | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000)


def rows_of(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None] | None = None,
    *,
    name: str = "p",
    shared: bool = False,
    destinations: list[str | None] | None = None,
) -> Rows:
    """One row for each key, each of a record of its own; values are positions unless given.

    Args:
        keys: Keys.
        values: Values.
        name: First part of the rows' ids, which are `NAME/t/0/0/OFFSET/0`.
        shared: Whether the rows belong to many records, and so have no ids.
        destinations: Where the rows go.
    """
    made = [b"%d" % i for i in range(len(keys))] if values is None else list(values)
    sources: list[SourceRecord | None] = [
        None if shared else Source(key, i) for i, key in enumerate(keys)
    ]
    outputs = Outputs(values=made, keys=list(keys), topics=destinations)
    return Rows(outputs, sources, lambda source: f"{name}/t/0/0/{source.offset()}")
