"""The inbox and the journal of tasks, in Kafka: an owner's transactions, and take-overs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from time import monotonic
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from msgspec.structs import replace

from kafka_etl.contracts import Deployment, OutcomeUnknown
from kafka_etl.envelope import Encoded, LetterFormat, encode_letter
from kafka_etl.errors import BrokersUnreachable
from kafka_etl.invocation import DeadLetter
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.settings import make_client, producer_settings, reader_settings
from kafka_etl.kafka.cluster.topics import read_ranges
from kafka_etl.kafka.tasks.settings import TaskInboxSettings
from kafka_etl.kafka.transactions.destinations import Destinations
from kafka_etl.kafka.transactions.produce import produce_record
from kafka_etl.kafka.transactions.transactions import Transactions
from kafka_etl.record import Offsets, Partition, SourceRecord, headers_of, partition_of
from kafka_etl.tasks.journal import mark_key
from kafka_etl.tasks.log import Entry, JournalRecord, Ranges
from kafka_etl.tasks.open_note import encode_note

_ANY_PARTITION: Final = -1
_DEFAULT_LIMIT: Final = 1_000_000
_REQUEST: Final = 10.0
_PIECE: Final = 0.2
_AT_ONCE: Final = 10_000
_SLOW: Final = 2.0
_PATIENCE: Final = 60.0
_MARK: Final = mark_key()
_LastOfKey = tuple[tuple[int | None, bytes | None], Message]
"""Partition and key, and the last record of those that have come together."""


class KafkaTaskLog:
    """See `kafka_etl.tasks.log.TaskLog`.

    Args:
        settings: Names of inbox and journal.
        results: Topic of rows that name no topic.
        deployment: The cluster, the transactional id and the dead-letter topic.
    """

    def __init__(self, settings: TaskInboxSettings, results: str, deployment: Deployment) -> None:
        self.partitions = settings.partitions
        self._max_open = settings.max_open
        self._inbox = settings.inbox
        self._journal = settings.journal
        self._results = results
        self._formats: Mapping[str, LetterFormat] = {
            letters.topic: letters.format for letters in settings.letters
        }
        self._deployment = deployment
        self._written: dict[int, int] = {}
        self._reader = {**deployment.kafka, **deployment.consumer}
        known = next(iter(deployment.size_limits), None)
        self._destinations = Destinations()
        self._transactions = Transactions(producer_settings(deployment), known, deployment.pulse)

    def open(self) -> None:
        self._transactions.open()

    def close(self) -> None:
        self._transactions.close()

    def partition(self, number: int) -> Partition:
        return Partition(self._inbox, number)

    def commit(self, entry: Entry, offsets: Offsets, lease: object) -> Mapping[int, int]:
        def told(error: KafkaError | None, record: Message) -> None:
            if error is None:
                self._written[record.partition() or 0] = (record.offset() or 0) + 1

        letters = [self._letter(*letter) for letter in entry.letters]
        destinations = {row.topic or self._results for row in entry.rows}
        destinations.update(topic for topic, _, _ in letters)
        destinations.update(row.topic for _, row in entry.deliveries)

        def write(producer: Producer) -> None:
            self._destinations.require(producer, destinations)
            for number, key, value in entry.journal:
                then = told if key == _MARK else None  # the mark is the last of its partition
                produce_record(producer, self._journal, number, Encoded(key, value, []), then)
            for number, word in entry.moves:
                moved = Encoded(word.key(), word.value(), headers_of(word))
                produce_record(producer, self._inbox, number, moved)
            for row in entry.rows:
                encoded = Encoded(row.key, row.value, row.headers)
                produce_record(producer, row.topic or self._results, _ANY_PARTITION, encoded)
            for number, row in entry.deliveries:
                encoded = Encoded(row.key, row.value, row.headers)
                produce_record(producer, row.topic, number, encoded)
            for letter in letters:
                produce_record(producer, *letter)

        size = sum(len(value or b"") for _, _, value in entry.journal)
        size += sum(len(row.value or b"") for row in entry.rows)
        size += sum(len(word.value() or b"") for _, word in entry.moves)
        size += sum(len(row.value or b"") for _, row in entry.deliveries)
        to = [
            TopicPartition(*tp, at, encode_note(replace(entry.notes[tp], most=self._max_open)))
            for tp, at in offsets.items()
        ]
        self._transactions.begin(write, size, to, lease)()
        return {tp.number: self._written.get(tp.number, 0) for tp in offsets}

    def _letter(self, topic: str, letter: DeadLetter) -> tuple[str, int, Encoded]:
        place = self._deployment
        written_as = self._formats.get(topic, place.letter_format)
        topic = topic or place.dead_letter_topic or ""
        limit = place.size_limits.get(topic, _DEFAULT_LIMIT)
        encoded = encode_letter(letter, place.provenance, written_as, limit)
        return topic, partition_of(letter.record).number % place.partitions.get(topic, 1), encoded

    @property
    def identity(self) -> str:
        place = self._deployment
        return f"{place.cluster}/{place.topic_ids.get(self._journal, '')}"

    def journal_ranges(self, partitions: Collection[Partition]) -> Ranges:
        places = {tp: TopicPartition(self._journal, tp.number) for tp in partitions}
        return self._ranges(places)

    def inbox_ends(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        ranges = self._ranges({tp: TopicPartition(*tp) for tp in partitions})
        return {tp: end for tp, (_, end) in ranges.items()}

    def _ranges(self, places: Mapping[Partition, TopicPartition]) -> Ranges:
        """Partition of the inbox -> the range of its place, uncommitted records included."""
        try:
            consumer = make_client(Consumer, self._settings("read_uncommitted"))
            try:
                asked = {
                    tp: consumer.get_watermark_offsets(place, _REQUEST)
                    for tp, place in places.items()
                }
            finally:
                consumer.close()
        except KafkaException as raised:
            raise _unread(raised) from raised
        return {tp: (int(begin), int(end)) for tp, (begin, end) in asked.items()}

    def _settings(self, isolation: str) -> dict[str, Any]:
        more: dict[str, Any] = {
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "queued.max.messages.kbytes": 32_768,
            "fetch.queue.backoff.ms": 5,
        }
        return reader_settings(self._reader, **more)

    def journal(self, ranges: Ranges) -> Iterator[JournalRecord]:
        """Read committed records up to ends that are those of all records.

        The transaction of an owner that has died may be open still, and what it has written counts
        once it is committed: so an end is waited for.
        """
        of = {tp.number: tp for tp in ranges}
        ends = {tp.number: end for tp, (begin, end) in ranges.items() if begin < end}
        if not ends:
            return
        begins = [TopicPartition(self._journal, n, ranges[of[n]][0]) for n in ends]
        try:
            consumer = make_client(Consumer, self._settings("read_committed"))
            try:
                consumer.assign(begins)
                for (number, key), record in self._up_to(consumer, ends):
                    yield of[number or 0], key, record.value()
            finally:
                consumer.close()
        except KafkaException as raised:
            raise _unread(raised) from raised

    def _up_to(self, consumer: Consumer, ends: dict[int, int]) -> Iterator[_LastOfKey]:
        """The records up to these ends, and some of behind them.

        Of several that come together under one key there is only the last one: most heads of a task
        follow each other soon.
        """
        started = heard = monotonic()
        while ends:
            polled = _records(consumer.consume(_AT_ONCE, _PIECE))
            # In C: of a million tasks there are three million records.
            places = zip(map(Message.partition, polled), map(Message.key, polled), strict=True)
            last = dict(zip(places, polled, strict=True))
            yield from last.items()
            left = [TopicPartition(self._journal, number) for number in ends]
            for at in consumer.position(left):
                if at.offset >= ends[at.partition]:
                    del ends[at.partition]
            now = monotonic()
            heard = now if last else heard
            if now - started > _SLOW:
                self._deployment.pulse(f"reading {self._journal}: {_shown(ends)}")
            if now - heard > _PATIENCE:
                raise OutcomeUnknown(
                    f"an open transaction in {self._journal}[{min(ends)}], or no broker answers",
                    halve=False,
                )

    def inputs(self, partition: Partition, begin: int, end: int) -> Iterator[SourceRecord]:
        try:
            yield from read_ranges(self._reader, {partition: (begin, end)})
        except BrokersUnreachable as away:
            raise OutcomeUnknown(away.what, halve=False) from away


def _unread(raised: KafkaException) -> OutcomeUnknown:
    said = classify.said(classify.error_of(raised))
    return OutcomeUnknown(f"reading the journal failed: {said}", halve=False)


def _shown(ends: Mapping[int, int]) -> str:
    """Partitions and offsets up to which they are read, of the first few."""
    shown = [f"[{number}] to offset {end:,}" for number, end in islice(ends.items(), 3)]
    more = f", and {len(ends) - 3} more" if len(ends) > len(shown) else ""
    return ", ".join(shown) + more


def _records(polled: list[Message]) -> list[Message]:
    """The records without the ends of partitions.

    Raises:
        KafkaException: One is another error.
    """
    if not any(map(Message.error, polled)):
        return polled
    for record in polled:
        if record.error() is not None and not _is_end(record):
            raise KafkaException(record.error())
    return [record for record in polled if record.error() is None]


def _is_end(record: Message) -> bool:
    error = record.error()
    return error is not None and error.name() == "_PARTITION_EOF"
