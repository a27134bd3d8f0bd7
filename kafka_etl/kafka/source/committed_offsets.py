"""Committed offsets of assigned partitions, and first offsets of partitions without one."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from kafka_etl.contracts import Arrival, Pulse
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.broker_silence import BrokerSilence
from kafka_etl.record import Partition

_REQUEST: Final = 5.0
_PATIENCE: Final = 60.0


class CommittedOffsets:
    """The committed offsets of one group, and the notes beside these offsets."""

    def __init__(self, consumer: Consumer, silence: BrokerSilence, pulse: Pulse) -> None:
        self._consumer = consumer
        self._silence = silence
        self._pulse = pulse

    def read(self, partitions: list[TopicPartition]) -> dict[Partition, Arrival]:
        """Read the committed offset of each partition; without one, the partition's first offset.

        Called on the engine's thread: by the source itself, or inside the consumer's callback for
        new partitions. A request without an answer is repeated for about 60 s, with a pulse before
        each repetition.

        Raises:
            KafkaException: The brokers refuse the request, or have not answered for that long.
        """
        committed = self.committed(partitions)
        # Preflight applied `start` to new topics: such a partition was added to a known topic.
        fresh = [tp for tp, arrival in committed.items() if arrival.offset < 0]
        if fresh:
            # OFFSET_BEGINNING in place of a time: one request finds all first offsets.
            begins = [TopicPartition(*tp, OFFSET_BEGINNING) for tp in fresh]
            what = "looking up first offsets"
            committed |= self._asked(what, self._consumer.offsets_for_times, begins)
        return committed

    def committed(self, partitions: list[TopicPartition]) -> dict[Partition, Arrival]:
        """Read the committed offset of each partition, negative where there is none; as `read`."""
        return self._asked("reading committed offsets", self._consumer.committed, partitions)

    def _asked(
        self, what: str, ask: Callable[..., list[TopicPartition]], partitions: list[TopicPartition]
    ) -> dict[Partition, Arrival]:
        deadline = monotonic() + _PATIENCE
        while True:
            try:
                answer = ask(partitions, timeout=_REQUEST)
                return {partition_at(p): _arrival(p) for p in answer}
            except KafkaException as raised:
                error = classify.error_of(raised)
                if monotonic() > deadline or not classify.passing(error):
                    raise
                self._pulse(self._silence.explain(what, error))


def partition_at(partition: TopicPartition) -> Partition:
    """The partition of one of the client's `TopicPartition` objects."""
    return Partition(partition.topic, partition.partition)


def _arrival(partition: TopicPartition) -> Arrival:
    if partition.error is not None:
        raise KafkaException(partition.error)
    return Arrival(partition.offset, partition.metadata or "")
