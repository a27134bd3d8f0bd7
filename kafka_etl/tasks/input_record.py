"""The input of a task, as the engine reads records."""

from __future__ import annotations

import msgspec

from kafka_etl.record import Headers
from kafka_etl.tasks.keeping import TaskRecord

_NO_TIME, _TIME_OF_CREATION = 0, 1
"""The Kafka client's kinds of timestamps."""


class InputRecord(msgspec.Struct, frozen=True):
    """The record of the source that is the input of a task; see `kafka_etl.record.SourceRecord`."""

    of: TaskRecord

    def topic(self) -> str | None:
        return self.of.topic

    def partition(self) -> int | None:
        return self.of.partition

    def offset(self) -> int | None:
        return self.of.offset

    def key(self) -> bytes | None:
        return self.of.key

    def value(self) -> bytes | None:
        return self.of.value

    def headers(self) -> Headers | None:
        return self.of.headers.copy() or None

    def timestamp(self) -> tuple[int, int]:
        at = self.of.timestamp
        return (_NO_TIME, -1) if at < 0 else (_TIME_OF_CREATION, at)

    def __len__(self) -> int:
        return len(self.of.value or b"")
