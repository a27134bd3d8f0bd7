"""The inbox and the journal of tasks, in Kafka: an owner's transactions, and take-overs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from kafka_etl.contracts import Deployment, OutcomeUnknown
from kafka_etl.envelope import Encoded, encode_letter
from kafka_etl.errors import BrokersUnreachable, JournalUnreadable, TaskHistoryLost
from kafka_etl.kafka import classify
from kafka_etl.kafka.client_settings import make_client, producer_settings
from kafka_etl.kafka.destinations import Destinations
from kafka_etl.kafka.open_tasks import OpenNote, encode_note
from kafka_etl.kafka.produce import produce_record
from kafka_etl.kafka.task_settings import TaskInboxSettings
from kafka_etl.kafka.topics import read_ranges
from kafka_etl.kafka.transactions import Transactions
from kafka_etl.record import Offsets, Partition, SourceRecord, headers_of, offset_of, partition_of
from kafka_etl.tasks.journal import BadMark, Kind, Mark, decode_mark, parse_key
from kafka_etl.tasks.log import Entry, Restored

_ANY_PARTITION: Final = -1
_DEFAULT_LIMIT: Final = 1_000_000
_REQUEST: Final = 10.0
_PIECE: Final = 0.2
_SLOW: Final = 2.0
_PATIENCE: Final = 60.0
_READER: Final[Mapping[str, Any]] = {
    "group.id": "kafka-etl-reader",  # never joined
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
}


class KafkaTaskLog:
    """See `kafka_etl.tasks.log.TaskLog`.

    Args:
        settings: Names of inbox and journal.
        results: Topic of rows that name no topic.
        deployment: The cluster, the transactional id and the dead-letter topic.
    """

    def __init__(self, settings: TaskInboxSettings, results: str, deployment: Deployment) -> None:
        self.partitions = settings.partitions
        self._inbox = settings.inbox
        self._journal = settings.journal
        self._results = results
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

    def commit(self, entry: Entry, offsets: Offsets, lease: object) -> Mapping[int, int]:
        def told(error: KafkaError | None, record: Message) -> None:
            if error is None:
                self._written[record.partition() or 0] = record.offset() or 0

        letters = [self._letter(letter) for letter in entry.letters]
        destinations = {row.topic or self._results for row in entry.rows}
        destinations.update(topic for topic, _, _ in letters)

        def write(producer: Producer) -> None:
            self._destinations.require(producer, destinations)
            last = {number: at for at, (number, _, _) in enumerate(entry.journal)}
            for at, (number, key, value) in enumerate(entry.journal):
                then = told if last[number] == at else None
                produce_record(producer, self._journal, number, Encoded(key, value, []), then)
            for number, word in entry.moves:
                moved = Encoded(word.key(), word.value(), headers_of(word))
                produce_record(producer, self._inbox, number, moved)
            for row in entry.rows:
                encoded = Encoded(row.key, row.value, row.headers)
                produce_record(producer, row.topic or self._results, _ANY_PARTITION, encoded)
            for letter in letters:
                produce_record(producer, *letter)

        size = sum(len(value or b"") for _, _, value in entry.journal)
        size += sum(len(row.value or b"") for row in entry.rows)
        size += sum(len(word.value() or b"") for _, word in entry.moves)
        to = [
            TopicPartition(*tp, at, encode_note(OpenNote(*entry.notes[tp])))
            for tp, at in offsets.items()
        ]
        self._transactions.begin(write, size, to, lease)()
        return {tp.number: self._written.get(tp.number, 0) for tp in offsets}

    def _letter(self, letter: Any) -> tuple[str, int, Encoded]:
        place = self._deployment
        topic = place.dead_letter_topic or ""
        limit = place.size_limits.get(topic, _DEFAULT_LIMIT)
        encoded = encode_letter(letter, place.provenance, place.letter_format, limit)
        return topic, partition_of(letter.record).number % place.partitions.get(topic, 1), encoded

    def restore(self, partition: Partition) -> Restored:
        """See `kafka_etl.tasks.log.TaskLog`."""
        heads: dict[str, bytes] = {}
        mark: Mark | None = None
        end = 0
        for record in self._read_journal(partition.number):
            end = offset_of(record) + 1
            key = parse_key(record.key())
            value = record.value()
            if key is None:
                continue
            if key.kind is Kind.HEAD and value is None:
                heads.pop(key.task, None)
            elif key.kind is Kind.HEAD and value is not None:
                heads[key.task] = value
            elif key.kind is Kind.MARK and value is not None:
                mark = self._mark(record, value)
        self._check(partition, mark)
        return Restored(heads, mark, end)

    def _mark(self, record: SourceRecord, value: bytes) -> Mark:
        try:
            return decode_mark(value)
        except BadMark as bad:
            at = f"{partition_of(record)} at offset {offset_of(record)}"
            raise JournalUnreadable(f"{at} has {bad}") from bad

    def _check(self, partition: Partition, mark: Mark | None) -> None:
        """Check that the inbox is still the one that the mark is about."""
        if mark is None:
            return
        try:
            end = self._high_watermark({**self._reader, **_READER}, TopicPartition(*partition))
        except KafkaException as raised:
            said = classify.said(classify.error_of(raised))
            raise OutcomeUnknown(f"asking for an end failed: {said}", halve=False) from raised
        if mark.inbox > end:
            raise TaskHistoryLost(
                f"{partition} ends at offset {end:,}, and its owner {mark.writer} had read it up "
                f"to {mark.inbox:,}: the inbox has lost words, or was made anew"
            )

    def _read_journal(self, number: int) -> Iterator[SourceRecord]:
        """The records of a partition, up to the end that it has at the call.

        The end is the high watermark, not that of committed records: the transaction of an owner
        that has died may be open still, and what it has written counts once it is committed.

        Raises:
            OutcomeUnknown: No broker answers.
        """
        settings = {**self._reader, **_READER}
        tp = TopicPartition(self._journal, number)
        try:
            end = self._high_watermark(settings, tp)
            if end == 0:
                return
            consumer = make_client(Consumer, settings | {"isolation.level": "read_committed"})
            try:
                consumer.assign([TopicPartition(self._journal, number, 0)])
                yield from self._up_to(consumer, tp, end)
            finally:
                consumer.close()
        except KafkaException as raised:
            said = classify.said(classify.error_of(raised))
            raise OutcomeUnknown(f"reading the journal failed: {said}", halve=False) from raised

    def _high_watermark(self, settings: dict[str, Any], tp: TopicPartition) -> int:
        consumer = make_client(Consumer, settings | {"isolation.level": "read_uncommitted"})
        try:
            _, end = consumer.get_watermark_offsets(tp, _REQUEST)
        finally:
            consumer.close()
        return int(end)

    def _up_to(self, consumer: Consumer, tp: TopicPartition, end: int) -> Iterator[SourceRecord]:
        started = heard = monotonic()
        while True:
            polled = consumer.consume(1000, _PIECE)
            for record in polled:
                heard = monotonic()
                if record.error() is None:
                    yield record
                elif not _is_end(record):
                    raise KafkaException(record.error())
            (position,) = consumer.position([tp])
            if position.offset >= end:
                return
            if monotonic() - started > _SLOW:
                self._deployment.pulse(f"reading {self._journal}[{tp.partition}] to offset {end:,}")
            if monotonic() - heard > _PATIENCE:
                raise OutcomeUnknown(
                    f"an open transaction in {self._journal}[{tp.partition}], or no broker answers",
                    halve=False,
                )

    def inputs(self, partition: Partition, begin: int, end: int) -> Iterable[SourceRecord]:
        try:
            return list(read_ranges(self._reader, {partition: (begin, end)}))
        except BrokersUnreachable as away:
            raise OutcomeUnknown(away.what, halve=False) from away


def _is_end(record: Message) -> bool:
    error = record.error()
    return error is not None and error.name() == "_PARTITION_EOF"
