"""The ledger of a deliverer: with the offsets go the words that say what has arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from confluent_kafka import Producer

from kafka_etl.contracts import Deployment, OutcomeUnknown
from kafka_etl.envelope import Encoded
from kafka_etl.errors import BrokersUnreachable
from kafka_etl.invocation import Settlement
from kafka_etl.kafka.cluster.topics import read_ranges
from kafka_etl.kafka.transactions.ledger import Ledger
from kafka_etl.kafka.transactions.produce import produce_record
from kafka_etl.record import Partition, SourceRecord
from kafka_etl.tasks.deliveries import Receipts
from kafka_etl.tasks.words import encode_word


class DeliveryLedger:
    """Commits offsets, dead letters, and words about them, in one transaction.

    See `kafka_etl.engine.sinks.followed.OffsetLedger`.

    Args:
        deployment: The worker's deployment.
        inbox: Topic of the words; its partitions are those of the deliveries.
        receipts: What is on its way.
    """

    def __init__(self, deployment: Deployment, inbox: str, receipts: Receipts) -> None:
        self._ledger = Ledger(deployment)
        self._reader = {**deployment.kafka, **deployment.consumer}
        self._inbox = inbox
        self._receipts = receipts

    @property
    def owes(self) -> bool:
        return self._ledger.owes

    def open(self) -> None:
        """See `Ledger.open`."""
        self._ledger.open()

    def close(self) -> None:
        """Let go of the producer."""
        self._ledger.close()

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `Ledger.begin`."""
        words = self._receipts.words(settlement.progress, settlement.dead_letters)

        def write(producer: Producer) -> None:
            for number, task, word in words:
                record = encode_word(word)
                encoded = Encoded(task.encode(), record.value, record.headers)
                produce_record(producer, self._inbox, number, encoded)

        finish = self._ledger.begin(settlement, write)

        def finish_words() -> None:
            finish()
            self._receipts.said(settlement.progress)

        return finish_words

    def read(self, partition: Partition, begin: int, end: int) -> Iterable[SourceRecord]:
        """Read records on their way once more, from one offset up to another.

        Raises:
            OutcomeUnknown: No broker answers.
        """
        try:
            return list(read_ranges(self._reader, {partition: (begin, end)}))
        except BrokersUnreachable as away:
            raise OutcomeUnknown(away.what, halve=False) from away
