"""Follows partitions beyond their ends, without a group."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaError, TopicPartition

from kafka_etl.errors import TopicMissing
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.settings import make_client, reader_settings
from kafka_etl.record import Partition, SourceRecord

_AT_ONCE: Final = 1000
_FIRST_WAIT: Final = 0.02


class Tail:
    """The committed records of partitions, as they come; the reader commits nothing.

    Args:
        settings: Settings of the client.
        begins: Partition -> the first offset to read.
    """

    def __init__(self, settings: Mapping[str, Any], begins: Mapping[Partition, int]) -> None:
        suitable = {"fetch.wait.max.ms": 100, **settings}
        self._consumer = make_client(Consumer, reader_settings(suitable))
        self._consumer.assign([TopicPartition(*tp, offset) for tp, offset in begins.items()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def poll(self, seconds: float) -> list[SourceRecord]:
        """The records that have come; none after so many seconds.

        Raises:
            KafkaEtlError: A broker refuses the request for good.
        """
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        polled = [first, *self._consumer.consume(_AT_ONCE, _FIRST_WAIT)]
        found: list[SourceRecord] = []
        for record in polled:
            error = record.error()
            if error is None:
                found.append(record)
            else:
                _note(error, f"{record.topic()}[{record.partition()}]")
        return found


def _note(error: KafkaError, where: str) -> None:
    denied = classify.final(error, f"reading {where}")
    if denied is not None:
        raise denied
    if error.name() == "UNKNOWN_TOPIC_OR_PART":
        raise TopicMissing(f"{where} is no more", "Ask again.")
