"""The inputs of tasks: kept from submission to start, else read from the inbox again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from kafka_etl.record import Partition, SourceRecord, headers_of, offset_of, partition_of
from kafka_etl.tasks.head import Head, Origin
from kafka_etl.tasks.keeping import TaskRecord
from kafka_etl.tasks.words import own_parts

_AHEAD: Final = 200
_MOST_BYTES: Final = 64 * 1024 * 1024

Read = Callable[[Partition, int, int], Iterable[SourceRecord]]
"""Reads the records of a partition of the inbox from one offset up to another."""


class Inputs:
    """The inputs of the tasks of all partitions; those submitted longest ago are forgotten first.

    Args:
        read: Reads records of the inbox.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._kept: OrderedDict[tuple[Partition, int], SourceRecord] = OrderedDict()
        self._size = 0

    def keep(self, tp: Partition, record: SourceRecord) -> None:
        """Keep the input of a submission."""
        self._kept[tp, offset_of(record)] = record
        self._size += _size(record)
        while self._size > _MOST_BYTES and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._size -= _size(oldest)

    def drop(self, tp: Partition, head: Head) -> None:
        """The task has ended: its input is not needed soon."""
        if head.input is not None:
            record = self._kept.pop((tp, head.input.offset), None)
            self._size -= 0 if record is None else _size(record)

    def forget(self, tp: Partition) -> None:
        """The partition has left."""
        for key in [key for key in self._kept if key[0] == tp]:
            self._size -= _size(self._kept.pop(key))

    def get(self, tp: Partition, head: Head) -> TaskRecord | None:
        """The input of a task, as the record that its source had; None: it is gone.

        What is not kept is read together with the submissions behind it, which are wanted next.
        """
        if head.input is None:
            return None
        at = head.input.offset
        if (tp, at) not in self._kept:
            for submission in self._read(tp, at, at + _AHEAD):
                self.keep(tp, submission)
        record = self._kept.get((tp, at))
        return None if record is None else _as_source(record, head.origin)


def _size(record: SourceRecord) -> int:
    return len(record.value() or b"")


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
