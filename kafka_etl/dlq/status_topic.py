"""Reads and changes the statuses of one dead-letter topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kafka_etl.dead_letters.statuses import (
    BulkAction,
    LetterPlace,
    LetterStatus,
    Status,
    Statuses,
    action_record,
    key_of,
    status_record,
    status_topic,
)
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.cluster.topics import read
from kafka_etl.kafka.transactions.atomic_writer import AtomicWriter

_CONFIG: Final[Mapping[str, Any]] = {"cleanup.policy": "compact"}


class StatusTopic:
    """The status topic of a dead-letter topic.

    Args:
        admin: An admin client of the cluster.
        consumer: Settings of consumers.
        producer: Settings of producers.
        letters: Name of the dead-letter topic.
    """

    def __init__(
        self, admin: Admin, consumer: Mapping[str, Any], producer: Mapping[str, Any], letters: str
    ) -> None:
        self._admin = admin
        self._consumer = consumer
        self._producer = producer
        self._letters = letters
        self.name = status_topic(letters)

    def read(self) -> Statuses:
        """All statuses; none if the topic does not exist."""
        statuses = Statuses()
        if self._admin.topics([self.name], "READ"):
            statuses.take_in(read(self._consumer, self.name))
        return statuses

    def change(self) -> StatusChange:
        """Take over the statuses: every other change under way ends with `StatusesTaken`.

        Creates the topic if it is missing.

        Raises:
            KafkaEtlError: A right is missing, or no broker answers.
        """
        if not self._admin.topics([self.name], "WRITE"):
            self._admin.create_topic(self.name, 1, None, _CONFIG)
        writer = AtomicWriter(self._producer, f"kafka-etl.dlq.{self._letters}")
        writer.take_over()
        return StatusChange(writer, self.name, self.read())


class StatusChange:
    """Statuses that nobody else changes in the meantime.

    Attributes:
        statuses: As they were when the change began.
    """

    def __init__(self, writer: AtomicWriter, topic: str, statuses: Statuses) -> None:
        self._writer = writer
        self._topic = topic
        self.statuses = statuses

    def write(self, action: BulkAction, changed: Iterable[tuple[LetterPlace, Status]] = ()) -> None:
        """Write an action's account, and after it the statuses that it changes.

        Raises:
            StatusesTaken: Another change has begun.
        """
        records: list[tuple[bytes, bytes | None]] = [action_record(action)]
        records += [
            (key_of(place), None)
            if status.status is LetterStatus.OPEN
            else status_record(place, status)
            for place, status in changed
        ]
        self._writer.write(self._topic, records)
