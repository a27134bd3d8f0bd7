"""The ledger: offsets and dead letters in one Kafka transaction, with outputs or without.

Records of the source that move with its offsets (`Accounts`) are in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confluent_kafka import Producer, TopicPartition

from kafka_etl.contracts import Deployment
from kafka_etl.envelope import Encoded, LetterFormat, encode_letter
from kafka_etl.invocation import DeadLetter, Settlement
from kafka_etl.kafka.client.settings import producer_settings
from kafka_etl.kafka.transactions.produce import produce_record
from kafka_etl.kafka.transactions.transactions import Transactions, Write
from kafka_etl.record import partition_of

_DEFAULT_LIMIT: Final = 1_000_000
"""Largest dead letter in bytes, if preflight has read no limit of the dead-letter topic."""


def _no_outputs(_producer: Producer) -> None:
    """Write no outputs: another target has them, and has acknowledged them."""


class Ledger:
    """Commits the offsets and the dead letters of a settlement together, for every sink.

    Args:
        deployment: The cluster, the transactional id and the dead-letter topic.
    """

    def __init__(self, deployment: Deployment) -> None:
        topic = deployment.dead_letter_topic or ""
        self._topic = topic
        self._partitions = deployment.partitions.get(topic, 1)
        self._limit = deployment.size_limits.get(topic, _DEFAULT_LIMIT)
        self._format: LetterFormat = deployment.letter_format
        self._provenance = deployment.provenance
        self._accounts = deployment.accounts
        known = next(iter(deployment.size_limits), None)
        self._transactions = Transactions(
            producer_settings(deployment),
            known,
            deployment.pulse,
            None if self._accounts is None else self._accounts.taken_over,
        )

    @property
    def owes(self) -> bool:
        """See `kafka_etl.engine.sinks.followed.OffsetLedger`."""
        return self._accounts is not None and self._accounts.owes

    def open(self) -> None:
        """Take over the transactional id, which ends the open transaction of a predecessor."""
        self._transactions.open()

    def close(self) -> None:
        """Let go of the producer."""
        self._transactions.close()

    def begin(
        self, settlement: Settlement, write_outputs: Write = _no_outputs
    ) -> Callable[[], None]:
        """Queue outputs, dead letters and the source's accounts in a new transaction.

        Returns:
            The function that commits the queued records together with the offsets; see
            `Transactions.begin`, also for the errors.
        """
        accounts = self._accounts

        def write(producer: Producer) -> None:
            write_outputs(producer)
            for letter in settlement.dead_letters:
                self._produce(producer, letter)
            if accounts is not None:
                for key, value in accounts.due(settlement.progress):
                    produce_record(producer, accounts.topic, 0, Encoded(key, value, []))

        offsets = [
            TopicPartition(tp.topic, tp.number, offset, settlement.notes.get(tp, ""))
            for tp, offset in settlement.progress.items()
        ]
        size = settlement.outputs.size + len(settlement.dead_letters) * self._limit
        finish = self._transactions.begin(write, size, offsets, settlement.lease)
        if accounts is None:
            return finish

        def finish_accounts() -> None:
            finish()
            accounts.written(settlement.progress)

        return finish_accounts

    def _produce(self, producer: Producer, letter: DeadLetter) -> None:
        encoded = encode_letter(letter, self._provenance, self._format, self._limit)
        partition = partition_of(letter.record).number % self._partitions
        produce_record(producer, self._topic, partition, encoded)
