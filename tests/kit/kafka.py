"""A test's view of the cluster: topics made, records written, and everything read back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

_names = itertools.count()


@dataclass(frozen=True)
class Stored:
    """One record as read back."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int

    def header(self, name: str) -> str:
        found = [value for key, value in self.headers if key == name]
        return (found[-1] or b"").decode() if found else ""


@dataclass
class Kafka:
    """One cluster."""

    bootstrap: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def client(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap, "log_level": 0, **self.settings}

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient(self.client)

    def topic(self, partitions: int = 4, name: str = "", **config: str) -> str:
        """A new topic with a name of its own."""
        name = name or f"t{next(_names)}-{time.time_ns() % 10**9}"
        config = {key.replace("_", "."): value for key, value in config.items()}
        made = self.admin.create_topics([NewTopic(name, partitions, config=config)])
        made[name].result(20)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            listed = self.admin.list_topics(timeout=10).topics
            if name in listed and len(listed[name].partitions) == partitions:
                return name
        raise TimeoutError(name)

    def name(self) -> str:
        """A name nobody has yet, for a topic, group or pipeline."""
        return f"n{next(_names)}-{time.time_ns() % 10**9}"

    def delete_records(self, topic: str, partition: int, *, before: int) -> None:
        """What retention does, at once."""
        wanted = TopicPartition(topic, partition, before)
        for future in self.admin.delete_records([wanted]).values():
            future.result(20)

    def delete_topic(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result(20)

    def add_partitions(self, topic: str, total: int) -> None:
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(20)

    def produce(self, topic: str, records: Iterable[Any], **settings: Any) -> None:
        """Records: a value, (key, value), or a dict of produce's arguments."""
        producer = Producer({**self.client, "linger.ms": 5, "partitioner": "murmur2", **settings})
        for record in records:
            arguments = as_arguments(record)
            while True:
                try:
                    producer.produce(topic, **arguments)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0

    def produce_transactions(
        self, topic: str, batches: Sequence[tuple[Sequence[Any], bool]]
    ) -> None:
        """Each batch of records in a transaction of its own: committed or aborted."""
        producer = Producer({**self.client, "transactional.id": self.name()})
        producer.init_transactions(30)
        for records, committed in batches:
            producer.begin_transaction()
            for record in records:
                producer.produce(topic, **as_arguments(record))
            producer.flush(30)
            producer.commit_transaction(30) if committed else producer.abort_transaction(30)

    def read(self, topic: str, *, isolation: str = "read_committed") -> list[Stored]:
        """Everything a reader of committed records sees, partition by partition."""
        ends = self.ends(topic)
        consumer = Consumer(
            {
                **self.client,
                "group.id": self.name(),
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        consumer.assign([TopicPartition(topic, n, 0) for n in ends])
        found: list[Stored] = []
        open_partitions = set(ends)
        while open_partitions:
            for message in consumer.consume(10_000, 1.0):
                if message.error() is None:
                    found.append(stored(message))
                elif message.error().name() == "_PARTITION_EOF":
                    open_partitions.discard(message.partition())
        consumer.close()
        return sorted(found, key=lambda r: (r.partition, r.offset))

    def ends(self, topic: str) -> dict[int, int]:
        """Partition -> end offset, open transactions left out."""
        partitions = self.admin.list_topics(timeout=10).topics[topic].partitions
        latest = {TopicPartition(topic, n): OffsetSpec.latest() for n in partitions}
        deadline = time.monotonic() + 10
        while True:
            asked = self.admin.list_offsets(latest, isolation_level=IsolationLevel.READ_COMMITTED)
            try:
                return {tp.partition: future.result(20).offset for tp, future in asked.items()}
            except KafkaException:  # a topic just made has no leader for a moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Partition -> offset the group has committed."""
        return {p.partition: p.offset for p in self._committed(group, topic)}

    def notes(self, group: str, topic: str) -> dict[int, str]:
        """Partition -> metadata beside the committed offset."""
        return {p.partition: p.metadata or "" for p in self._committed(group, topic)}

    def _committed(self, group: str, topic: str) -> list[TopicPartition]:
        wanted = [TopicPartition(topic, n) for n in self.ends(topic)]
        # Those of a transaction that has just ended come a moment after its end: until then each
        # partition has an error instead.
        deadline = time.monotonic() + 20
        while True:
            asked = self.admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, wanted)], require_stable=True
            )
            found = asked[group].result(20).topic_partitions
            if time.monotonic() > deadline or not any(p.error for p in found):
                return found
            time.sleep(0.02)


def as_arguments(record: Any) -> dict[str, Any]:
    match record:
        case dict():
            return record
        case (key, value):
            return {"key": key, "value": value}
        case value:
            return {"value": value}


def stored(message: Message) -> Stored:
    return Stored(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value(),
        list(message.headers() or []),
        message.timestamp()[1],
    )


def by_key(records: Iterable[Stored]) -> Iterator[tuple[bytes | None, list[Stored]]]:
    groups: dict[bytes | None, list[Stored]] = {}
    for record in records:
        groups.setdefault(record.key, []).append(record)
    yield from groups.items()
