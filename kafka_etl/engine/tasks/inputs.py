"""The inputs of tasks: kept from submission to start, else read from the inbox again."""

from __future__ import annotations

from kafka_etl.engine.tasks.kept import Kept, Read
from kafka_etl.record import Partition, SourceRecord, headers_of, offset_of, partition_of
from kafka_etl.tasks.head import Head, Origin
from kafka_etl.tasks.keeping import TaskRecord
from kafka_etl.tasks.words import own_parts


class Inputs:
    """The inputs of the tasks of all partitions.

    Args:
        read: Reads records of the inbox.
    """

    def __init__(self, read: Read) -> None:
        self._kept: Kept[SourceRecord] = Kept(read, lambda record: record)

    def keep(self, tp: Partition, record: SourceRecord) -> None:
        """Keep the input that a word has brought along."""
        self._kept.keep(tp, offset_of(record), record, len(record.value() or b""))

    def drop(self, tp: Partition, head: Head) -> None:
        """The task has ended: its input is not needed soon."""
        if head.input is not None:
            self._kept.drop(tp, head.input.offset)

    def forget(self, tp: Partition) -> None:
        """The partition has left."""
        self._kept.forget(tp)

    def get(self, tp: Partition, head: Head) -> TaskRecord | None:
        """The input of a task, as the record that its source had; None: it is gone."""
        record = None if head.input is None else self._kept.get(tp, head.input.offset)
        return None if record is None else _as_source(record, head.origin)


def _as_source(record: SourceRecord, origin: Origin | None) -> TaskRecord:
    """The record of the source of which a submission was made; of none, the submission itself."""
    key, headers = own_parts(headers_of(record))
    tp, (_, written_ms) = partition_of(record), record.timestamp()
    place = origin or Origin(tp.topic, tp.number, offset_of(record), timestamp=written_ms)
    return TaskRecord(
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        timestamp=place.timestamp,
        key=key,
        value=record.value(),
        headers=headers,
    )
