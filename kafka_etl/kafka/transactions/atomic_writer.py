"""Writes sets of records to one partition, each set in one transaction of a fixed id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from kafka_etl.envelope import Encoded
from kafka_etl.errors import KafkaEtlError, StatusesTaken
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.settings import make_client
from kafka_etl.kafka.transactions.produce import produce_record

_AT_ONCE: Final = 10_000
_REQUEST: Final = 30.0


class AtomicWriter:
    """A transactional producer for small sets of records.

    A second writer of the same id ends the first: whoever reads, decides and writes after
    `take_over` decides on what nobody else has changed meanwhile.

    Args:
        settings: Settings of the client.
        transactional_id: Id that all writers of these records share.
    """

    def __init__(self, settings: Mapping[str, Any], transactional_id: str) -> None:
        config = {
            **settings,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": 30_000,
            "delivery.report.only.error": True,
        }
        self._producer = make_client(Producer, config)

    def take_over(self) -> None:
        """End the writers before this one, and their open transactions.

        Raises:
            KafkaEtlError: A broker refuses, or none answers.
        """
        self._asked("taking over the statuses", lambda: self._producer.init_transactions(_REQUEST))

    def write(self, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write (key, value) pairs to partition 0 of a topic, 10,000 in one transaction.

        Raises:
            StatusesTaken: Another writer has taken over.
            KafkaEtlError: A broker refuses, or none answers.
        """
        for at in range(0, len(records), _AT_ONCE):
            part = records[at : at + _AT_ONCE]
            self._asked(f"writing to {topic}", partial(self._write, topic, part))

    def _write(self, topic: str, part: Sequence[tuple[bytes, bytes | None]]) -> None:
        self._producer.begin_transaction()
        for key, value in part:
            produce_record(self._producer, topic, 0, Encoded(key, value, []))
        self._producer.commit_transaction(_REQUEST)

    def _asked(self, what: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except KafkaException as raised:
            raise _explained(raised, what) from raised


def _explained(raised: KafkaException, what: str) -> KafkaEtlError:
    error = classify.error_of(raised)
    if classify.fenced(error):
        return StatusesTaken(f"{what}: another command has taken over meanwhile")
    return classify.explained(error, what)
