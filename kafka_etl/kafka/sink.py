"""Sinks of a pipeline: Kafka's own, and the one that makes any writer's outputs follow offsets."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Producer, TopicPartition

from kafka_etl.contracts import Abandoned, Aborted, Deployment, Pulse, Refusal, Writer
from kafka_etl.envelope import encode_raw
from kafka_etl.errors import KafkaEtlError, Permanent
from kafka_etl.invocation import DeadLetter, Settlement, type_name
from kafka_etl.kafka.client_settings import producer_settings
from kafka_etl.kafka.produce import produce_outputs, produce_record
from kafka_etl.kafka.transactions import Transactions, Write
from kafka_etl.record import partition_of

_DEFAULT_LIMIT = 1_000_000


class Ledger:
    """Offsets and dead letters in one transaction, together with whatever else is written."""

    def __init__(self, deployment: Deployment, pulse: Pulse) -> None:
        topic = deployment.dead_letter_topic or ""
        self._topic = topic
        self._partitions = deployment.partitions.get(topic, 1)
        self._limit = deployment.size_limits.get(topic, _DEFAULT_LIMIT)
        self._provenance = deployment.provenance
        known = next(iter(deployment.size_limits), None)
        self._transactions = Transactions(producer_settings(deployment), known, pulse)

    def open(self) -> None:
        self._transactions.open()

    def close(self) -> None:
        self._transactions.close()

    def begin(self, settlement: Settlement, write_outputs: Write) -> Callable[[], None]:
        def write(producer: Producer) -> None:
            write_outputs(producer)
            for letter in settlement.dead_letters:
                self._produce(producer, letter)

        offsets = [
            TopicPartition(tp.topic, tp.number, offset, settlement.notes.get(tp, ""))
            for tp, offset in settlement.progress.items()
        ]
        size = settlement.outputs.size + len(settlement.dead_letters) * self._limit
        return self._transactions.begin(write, size, offsets, settlement.lease)

    def _produce(self, producer: Producer, letter: DeadLetter) -> None:
        encoded = encode_raw(letter, self._provenance, self._limit)
        partition = partition_of(letter.record).number % self._partitions
        produce_record(producer, self._topic, partition, encoded)


class KafkaSink:
    """Outputs, dead letters and offsets in one transaction: exactly once."""

    def __init__(self, topic: str, deployment: Deployment, pulse: Pulse) -> None:
        self._topic = topic
        self._ledger = Ledger(deployment, pulse)

    def open(self) -> None:
        self._ledger.open()

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.PromptSink`."""
        return self._ledger.begin(
            settlement,
            lambda producer: produce_outputs(producer, self._topic, settlement.outputs),
        )

    def commit(self, settlement: Settlement) -> None:
        self.begin(settlement)()

    def close(self) -> None:
        self._ledger.close()


class FollowedSink:
    """A writer that acknowledges its outputs before the offsets move: at least once."""

    def __init__(self, writer: Writer, deployment: Deployment, pulse: Pulse) -> None:
        self._writer = writer
        self._ledger = Ledger(deployment, pulse)
        self._is_open = False

    def open(self) -> None:
        if not self._is_open:
            self._writer.open()
            self._is_open = True
        self._ledger.open()

    def commit(self, settlement: Settlement) -> None:
        """Write, then move the offsets.

        A `Permanent` error of the writer refuses the outputs; any other means: try again.
        """
        if len(settlement.outputs):
            try:
                self._writer.write(settlement.outputs)
            except (Abandoned, KafkaEtlError):
                raise
            except Permanent as error:
                raise Aborted(str(error), refusal=Refusal("Permanent", str(error))) from error
            except Exception as error:
                raise Aborted(f"the sink failed: {type_name(error)}: {error}") from error
        self._ledger.begin(settlement, lambda _producer: None)()

    def close(self) -> None:
        self._writer.close()
        self._ledger.close()
