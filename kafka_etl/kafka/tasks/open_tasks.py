"""How many tasks of a pipeline are open, as its owners tell in the offsets that they commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from kafka_etl.kafka.client.settings import make_client
from kafka_etl.tasks.open_note import OpenNote, decode_note

_EVERY: Final = 1.0
_REQUEST: Final = 2.0
_AGAIN: Final = 0.9
"""Share of the most that are allowed, below which there is room again."""


class _Noted(NamedTuple):
    """An offset that an owner has committed; without a note there has been no commit."""

    partition: int
    offset: int
    note: OpenNote | None


class Crowd(NamedTuple):
    """Open tasks of a pipeline.

    Attributes:
        open: How many there are; what is on its way to the owners counts, too.
        most: From how many on there is no room; 0: nobody has told.
    """

    open: int
    most: int

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more."""
        return 0 < self.most <= self.open


class Told(NamedTuple):
    """What is known of one partition.

    Attributes:
        unread: Number of words that its owner has not read.
        note: The note beside the owner's offset; None: there is none.
    """

    unread: int
    note: OpenNote | None


def crowd(partitions: Iterable[Told]) -> Crowd:
    """The open tasks, as the owners of all partitions have told.

    Of a limit that was changed, a partition tells when its owner commits next: the largest counts.
    """
    open_ = most = 0
    for unread, note in partitions:
        open_ += unread
        if note is not None:
            open_ += note.open
            most = max(most, note.most)
    return Crowd(open_, most)


def look(settings: Mapping[str, Any], inbox: str, group: str) -> Crowd | None:
    """Count once; None: the brokers do not answer, or this user may not ask.

    Args:
        settings: Settings of consumers.
        inbox: Topic of the words.
        group: The owners' group.
    """
    notes = OwnersNotes(settings, inbox, group)
    try:
        return notes.crowd()
    except KafkaException:
        return None
    finally:
        notes.close()


class OwnersNotes:
    """Reads what the owners of a pipeline have noted; joins no group.

    A consumer asks: the admin client's request ends the process while the group's coordinator
    moves, because librdkafka then looks for a membership that an admin client has not.

    Args:
        settings: Settings of consumers.
        inbox: Topic of the words.
        group: The owners' group.
    """

    def __init__(self, settings: Mapping[str, Any], inbox: str, group: str) -> None:
        self._settings = {**settings, "group.id": group, "enable.auto.commit": False}
        self._inbox = inbox
        self._consumer: Consumer | None = None
        self._partitions: list[TopicPartition] = []

    def waiting(self) -> Mapping[int, OpenNote]:
        """Number of a partition -> its note, of those where tasks wait; none: nobody answers."""
        try:
            return {p: note for p, _, note in self._read() if note is not None and note.waiting}
        except KafkaException:
            return {}

    def count(self) -> int:
        """Number of open tasks, and of words that no owner has read.

        Raises:
            KafkaException: The brokers do not answer.
        """
        return self.crowd().open

    def crowd(self) -> Crowd:
        """The open tasks, and how many there may be.

        Raises:
            KafkaException: The brokers do not answer.
        """
        return crowd(Told(self._unread(noted), noted.note) for noted in self._read())

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _unread(self, noted: _Noted) -> int:
        place = TopicPartition(self._inbox, noted.partition)
        begin, end = self._client().get_watermark_offsets(place, _REQUEST)
        return max(0, int(end) - max(noted.offset, int(begin)))

    def _read(self) -> Iterator[_Noted]:
        consumer = self._client()
        if not self._partitions:
            topic = consumer.list_topics(self._inbox, _REQUEST).topics[self._inbox]
            self._partitions = [TopicPartition(self._inbox, n) for n in topic.partitions]
        for place in consumer.committed(self._partitions, _REQUEST):
            yield _Noted(place.partition, place.offset, decode_note(place.metadata))

    def _client(self) -> Consumer:
        if self._consumer is None:
            self._consumer = make_client(Consumer, self._settings)
        return self._consumer


class OpenTasks:
    """Tells whether there is room for more tasks; looks once a second.

    What is on its way to the owners counts, too. Without an answer there is room: brokers that are
    away stop everything by themselves.

    Args:
        notes: What the owners have noted.
        most: Number of open tasks from which on there is no room; also an attribute.
    """

    def __init__(self, notes: OwnersNotes, most: int) -> None:
        self._notes = notes
        self.most = most
        self._looked_at = -_EVERY
        self._is_full = False

    def is_full(self) -> bool:
        """Whether there are too many; once there were, there must be a tenth fewer."""
        now = monotonic()
        if now - self._looked_at >= _EVERY:
            self._looked_at = now
            try:
                open_ = self._notes.count()
            except KafkaException:
                return self._is_full
            self._is_full = open_ >= self.most * (_AGAIN if self._is_full else 1)
        return self._is_full
