"""A record that no broker has: one of a file, of a test, or of the broker in memory."""

from __future__ import annotations

from typing import Final

from kafka_etl.record import Headers, partition_of

_NO_TIMESTAMP: Final = (0, -1)
_CREATE_TIME: Final = 1


class StoredRecord:
    """A record in memory; implements `kafka_etl.record.SourceRecord`."""

    __slots__ = ("_headers", "_key", "_offset", "_partition", "_timestamp", "_topic", "_value")

    def __init__(  # noqa: PLR0913 - the parts of a Kafka record
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
        *,
        timestamp_ms: int | None = None,
        topic: str = "in",
        partition: int = 0,
        offset: int = 0,
    ) -> None:
        self._value = value
        self._key = key
        self._headers = headers
        self._timestamp = _NO_TIMESTAMP if timestamp_ms is None else (_CREATE_TIME, timestamp_ms)
        self._topic = topic
        self._partition = partition
        self._offset = offset

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers | None:
        """Return a new list each time, as the Kafka client does; None: there are no headers."""
        return list(self._headers) if self._headers else None

    def timestamp(self) -> tuple[int, int]:
        """Return (type, milliseconds since 1970) in the form of the Kafka client."""
        return self._timestamp

    def __repr__(self) -> str:
        return f"<{partition_of(self)}@{self._offset} key={self._key!r} value={self._value!r}>"
