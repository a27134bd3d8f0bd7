"""Rows for tests of sinks, made of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka_etl.contracts import Rows
from kafka_etl.invocation import Outputs
from kafka_etl.record import Headers, Partition, SourceRecord, offset_of, partition_of
from kafka_etl.trial.stored_record import StoredRecord

SOURCE = Partition("in", 0)
"""The partition that rows come from by default."""


def rows(  # noqa: PLR0913 - the columns of a set
    *values: Any,
    keys: Sequence[Any] | None = None,
    headers: Sequence[Headers | None] | None = None,
    timestamps: Sequence[int] | None = None,
    destinations: Sequence[str | None] | None = None,
    offsets: Sequence[int | None] | None = None,
    partition: Partition = SOURCE,
    table: Any = None,
) -> Rows:
    """Make rows of these values, one source record each.

    Args:
        values: Encoded values, or tuples for a table sink; None: a tombstone.
        keys: Key of each row; None: no row has one.
        headers: Headers of each row; None: no row has any.
        timestamps: Milliseconds of each row; None: no row has one.
        destinations: Destination of each row; None: the sink's own.
        offsets: Offset of each row's source record; rows with one offset are of one record; an
            entry of None is a row of many records, without an id. None: 0, 1, 2 ...
        partition: The partition of the source records.
        table: An Arrow table in place of the values.
    """
    count = len(values) if table is None else int(table.num_rows)
    places = list(range(count)) if offsets is None else list(offsets)
    records: dict[int | None, SourceRecord | None] = {
        at: StoredRecord(b"", topic=partition.topic, partition=partition.number, offset=at)
        for at in places
        if at is not None
    }
    outputs = Outputs(
        values=list(values),
        keys=[None] * count if keys is None else list(keys),
        headers=None if headers is None else list(headers),
        timestamps=None if timestamps is None else list(timestamps),
        topics=None if destinations is None else list(destinations),
        size=sum(len(value) for value in values if isinstance(value, bytes)),
        table=table,
    )
    return Rows(outputs, [records.get(at) for at in places], _identify)


def _identify(source: SourceRecord) -> str:
    place = partition_of(source)
    return f"test/{place.topic}/0/{place.number}/{offset_of(source)}"
