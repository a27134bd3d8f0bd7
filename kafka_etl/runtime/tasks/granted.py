"""The record of a grant, as the engine reads it."""

from __future__ import annotations

from kafka_etl.record import Headers
from kafka_etl.tasks.keeping import TaskRecord

_NO_TIME, _TIME_OF_CREATION = 0, 1
"""The Kafka client's kinds of timestamps."""


class GrantedRecord:
    """A `SourceRecord` made of the record of a grant."""

    __slots__ = ("_record",)

    def __init__(self, record: TaskRecord) -> None:
        self._record = record

    def topic(self) -> str | None:
        return self._record.topic

    def partition(self) -> int | None:
        return self._record.partition

    def offset(self) -> int | None:
        return self._record.offset

    def key(self) -> bytes | None:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def headers(self) -> Headers | None:
        return self._record.headers or None

    def timestamp(self) -> tuple[int, int]:
        at = self._record.timestamp
        return (_NO_TIME, -1) if at < 0 else (_TIME_OF_CREATION, at)
