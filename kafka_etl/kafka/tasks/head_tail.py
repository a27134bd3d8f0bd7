"""Follows the journals of partitions that other owners have; see `kafka_etl.tasks.log.HeadTail`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.settings import make_client, reader_settings
from kafka_etl.log import get_logger
from kafka_etl.tasks.journal import Kind, parse_key
from kafka_etl.tasks.log import FoundHead

_AT_ONCE: Final = 5_000


class KafkaHeadTail:
    """See `kafka_etl.tasks.log.HeadTail`; the consumer is there only while there is what to follow.

    Args:
        settings: Settings of consumers.
        journal: Topic of the heads.
    """

    def __init__(self, settings: Mapping[str, Any], journal: str) -> None:
        self._settings = reader_settings(settings)
        self._journal = journal
        self._consumer: Consumer | None = None
        self._next: dict[int, int] = {}
        self._log = get_logger("owner")

    def follow(self, positions: Mapping[int, int]) -> None:
        if positions.keys() == self._next.keys():
            return
        self._next = {number: self._next.get(number, at) for number, at in positions.items()}
        if not self._next:
            self.close()
            return
        if self._consumer is None:
            self._consumer = make_client(Consumer, self._settings)
        places = [TopicPartition(self._journal, number, at) for number, at in self._next.items()]
        self._consumer.assign(places)

    def changes(self) -> Sequence[FoundHead]:
        if self._consumer is None:
            return []
        found: list[FoundHead] = []
        try:
            records = self._consumer.consume(_AT_ONCE, 0)
        except KafkaException as raised:
            self._warn(classify.said(classify.error_of(raised)))
            return []
        for record in records:
            error = record.error()
            if error is not None:
                self._warn(classify.said(error))
                continue
            number, behind = record.partition() or 0, (record.offset() or 0) + 1
            self._next[number] = behind
            key = parse_key(record.key())
            if key is not None and key.kind is Kind.HEAD:
                found.append(FoundHead(number, key.task, record.value(), behind))
        return found

    def _warn(self, said: str) -> None:
        self._log.warning("cannot follow the journal of other owners", error=said)

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
