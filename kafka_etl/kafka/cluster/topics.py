"""Topics outside pipelines: read topics without a group, send records, and create topics."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from kafka_etl.errors import BrokersUnreachable, TopicMissing
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.settings import make_client, reader_settings
from kafka_etl.kafka.cluster.admin import Admin, Right, reached
from kafka_etl.record import Headers, Partition, SourceRecord, offset_of, partition_of

Settings = Mapping[str, Any]
Ranges = Mapping[Partition, tuple[int, int]]
"""Partition -> the first offset to read, and the offset after the last one to read."""

_GIVE_UP_AFTER: Final = 30
"""Seconds without any result before the reader gives up."""
_POLLS: Final = 10
"""Polls in a second: the client waits for a full batch that long, also at the very end."""
_FIRST_WINDOW: Final = 100


def create_topic(settings: Settings, name: str, partitions: int) -> None:
    """Create a topic with the brokers' defaults; see `Admin.create_topic`, also for the errors."""
    Admin(settings).create_topic(name, partitions, None, {})


def existing_partitions(
    admin: Admin, topic: str, next_step: str = "", right: Right = "READ"
) -> list[Partition]:
    """The partitions of a topic.

    Args:
        admin: An admin client of the cluster.
        topic: Name of the topic.
        next_step: Advice for the user if the topic is missing; empty: a general advice.
        right: The right to the topic that this user needs.

    Raises:
        TopicMissing: The cluster has no such topic, or this user cannot see the topic.
        NotAuthorized: This user lacks the right to the topic.
    """
    count = admin.topics([topic], right).get(topic, 0)
    if not count:
        raise TopicMissing(f"topic {topic} does not exist", next_step or "Correct its name.")
    return [Partition(topic, number) for number in range(count)]


# Reading


def read(settings: Settings, topic: str) -> Iterator[SourceRecord]:
    """Every committed record of a topic, from its beginning to its present end.

    Raises:
        TopicMissing: The topic does not exist.
        KafkaEtlError: A broker refuses the request, or no broker answers.
    """
    admin = reached(settings)
    return read_ranges(settings, whole(admin, existing_partitions(admin, topic)))


def whole(admin: Admin, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
    """The ranges of all committed records of these partitions."""
    wanted = list(partitions)
    begins, ends = admin.earliest(wanted), admin.latest(wanted)
    return {tp: (begins[tp], ends[tp]) for tp in wanted}


def ranges_of(topic: str, places: Iterable[tuple[int, int]]) -> dict[Partition, tuple[int, int]]:
    """The ranges from the first to the last of these places, each (partition, offset)."""
    ranges: dict[Partition, tuple[int, int]] = {}
    for number, offset in places:
        tp = Partition(topic, number)
        begin, end = ranges.get(tp, (offset, offset))
        ranges[tp] = (min(begin, offset), max(end, offset + 1))
    return ranges


def record_at(settings: Settings, partition: Partition, offset: int) -> SourceRecord | None:
    """The record at an offset; None: there is none, or none any more.

    Raises: as `read_ranges`.
    """
    return next(iter(read_ranges(settings, {partition: (offset, offset + 1)})), None)


def first_records(settings: Settings, ranges: Ranges, count: int) -> list[SourceRecord]:
    """The first `count` records of these ranges, by time; by offset within a partition.

    Raises: as `read_ranges`.
    """
    by_partition: dict[Partition, list[SourceRecord]] = defaultdict(list)
    reading = _Reading(settings, ranges)
    for record in reading.records():
        kept = by_partition[partition_of(record)]
        kept.append(record)
        if len(kept) >= count:
            reading.leave(partition_of(record))
    return list(islice(_by_time(by_partition.values()), count))


def last_records(settings: Settings, ranges: Ranges, count: int) -> list[SourceRecord]:
    """The last `count` records of these ranges, by time; by offset within a partition.

    Some offsets hold no record: markers of transactions, and records that were aborted or
    compacted away. So the window before the end grows until the window holds enough records.

    Raises: as `read_ranges`.
    """
    found: dict[Partition, list[SourceRecord]] = {tp: [] for tp in ranges}
    unread = dict(ranges)
    window = max(_FIRST_WINDOW, 2 * count)
    while unread:
        windows = {tp: (max(begin, end - window), end) for tp, (begin, end) in unread.items()}
        newest: dict[Partition, deque[SourceRecord]] = {
            tp: deque(maxlen=count - len(found[tp])) for tp in windows
        }
        for record in read_ranges(settings, windows):
            newest[partition_of(record)].append(record)
        for tp, (begin, _) in windows.items():
            found[tp] = [*newest[tp], *found[tp]]
            if len(found[tp]) >= count or begin <= ranges[tp][0]:
                del unread[tp]
            else:
                unread[tp] = (ranges[tp][0], begin)
        window *= 8
    return list(_by_time(found.values()))[-count:]


def read_ranges(settings: Settings, ranges: Ranges) -> Iterator[SourceRecord]:
    """The committed records of these ranges; the reader joins no group and commits nothing.

    Raises:
        KafkaEtlError: A broker refuses the request, or no broker answers for 30 s.
    """
    return _Reading(settings, ranges).records()


class _Reading:
    """One pass over ranges of partitions; the caller may skip the rest of a partition."""

    def __init__(self, settings: Settings, ranges: Ranges) -> None:
        self._ends = {tp: end for tp, (begin, end) in ranges.items() if begin < end}
        self._ranges = ranges
        self._settings = reader_settings(settings, **{"enable.partition.eof": True})

    def leave(self, partition: Partition) -> None:
        """Skip the rest of a partition."""
        self._ends.pop(partition, None)

    def records(self) -> Iterator[SourceRecord]:
        if not self._ends:
            return
        consumer = make_client(Consumer, self._settings)
        try:
            consumer.assign([TopicPartition(*tp, self._ranges[tp][0]) for tp in self._ends])
            yield from self._poll(consumer)
        finally:
            consumer.close()

    def _poll(self, consumer: Consumer) -> Iterator[SourceRecord]:
        silent = 0
        while self._ends:
            polled = consumer.consume(1000, 1 / _POLLS)
            silent = 0 if polled else silent + 1
            if silent >= _GIVE_UP_AFTER * _POLLS:
                raise BrokersUnreachable(
                    f"no broker has answered for {_GIVE_UP_AFTER} s: {_told(self._ends)} are unread"
                )
            for record in polled:
                yield from self._taken(record)

    def _taken(self, record: Message) -> Iterator[SourceRecord]:
        error = record.error()
        if error is not None:
            self._note(error, record)
            return
        partition = partition_of(record)
        end = self._ends.get(partition)
        if end is None:
            return
        if offset_of(record) < end:
            yield record
        if offset_of(record) >= end - 1:
            self.leave(partition)

    def _note(self, error: KafkaError, record: Message) -> None:
        if error.name() == "_PARTITION_EOF":
            self.leave(partition_of(record))
            return
        denied = classify.final(error, f"reading {partition_of(record)}")
        if denied is not None:
            raise denied
        if error.name() == "UNKNOWN_TOPIC_OR_PART":
            raise TopicMissing(f"{partition_of(record)} is no more", "Ask again.")


def _told(partitions: Iterable[Partition]) -> str:
    return ", ".join(map(str, sorted(partitions)))


def _by_time(lists: Iterable[list[SourceRecord]]) -> Iterator[SourceRecord]:
    return heapq.merge(*lists, key=lambda record: record.timestamp()[1])


# Writing


@dataclass(slots=True)
class Sent:
    """The fate of records that were sent.

    Attributes:
        arrived: Number of records that the broker has acknowledged.
        failed: Number of a record, counted from 1 -> the error that kept the record from arriving.
        ends: Partition -> the offset after the last record that has arrived there.
    """

    arrived: int = 0
    failed: dict[int, str] = field(default_factory=dict[int, str])
    ends: dict[int, int] = field(default_factory=dict[int, int])


class Sender:
    """Sends records one by one, and counts the records that have arrived.

    The producer is idempotent: a repetition of the client writes no record twice.

    Args:
        settings: Settings of the client.
        topic: Topic of all records.
        limit: Bytes of the largest record that the topic takes.
    """

    def __init__(self, settings: Settings, topic: str, limit: int) -> None:
        config = {
            "linger.ms": 5,
            "message.max.bytes": max(1_000_000, limit),
            "message.timeout.ms": 30_000,
            **settings,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
        }
        self._producer = make_client(Producer, config)
        self._topic = topic
        self._count = 0
        self.sent = Sent()

    def send(
        self, value: bytes | None, key: bytes | None, headers: Headers, partition: int = -1
    ) -> None:
        """Hand a record to the producer; the fate of the record shows later in `sent`.

        Args:
            value: The record's value.
            key: The record's key.
            headers: The record's headers.
            partition: Number of the partition; -1: that of the key, or any.
        """
        self._count += 1
        reported = partial(self._reported, self._count)
        given: Any = headers
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, partition, on_delivery=reported, headers=given
                )
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as raised:
                self.sent.failed[self._count] = classify.said(classify.error_of(raised))
                break
        self._producer.poll(0)

    def finish(self) -> Sent:
        """Wait until each record has arrived or failed."""
        while len(self._producer):
            self._producer.flush(1.0)
        return self.sent

    def _reported(self, number: int, error: KafkaError | None, record: Message) -> None:
        if error is None:
            self.sent.arrived += 1
            self.sent.ends[record.partition() or 0] = offset_of(record) + 1
        else:
            self.sent.failed[number] = classify.said(error)


def write(settings: Settings, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Write (key, value) pairs, and wait until each has arrived or failed; no failure is raised."""
    sender = Sender(settings, topic, 0)
    for key, value in records:
        sender.send(value, key, [])
    sender.finish()
