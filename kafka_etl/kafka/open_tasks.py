"""How many tasks of a pipeline are open, as its owners tell in the offsets that they commit."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from kafka_etl.kafka.client_settings import make_client

_EVERY: Final = 1.0
_REQUEST: Final = 2.0
_AGAIN: Final = 0.9
"""Share of the most that are allowed, below which there is room again."""


class OpenNote(msgspec.Struct, frozen=True):
    """What an owner notes beside an offset of the inbox.

    Attributes:
        n: Number of the commit.
        open: Number of open tasks of the partition.
    """

    n: int
    open: int


def encode_note(note: OpenNote) -> str:
    """A note as text."""
    return _encode(note).decode()


class OpenTasks:
    """Tells whether there is room for more tasks; looks once a second.

    What is on its way to the owners counts, too. Without an answer there is room: brokers that are
    away stop everything by themselves.

    Args:
        settings: Settings of consumers.
        inbox: Topic of the words.
        group: The owners' group.
        most: Number of open tasks from which on there is no room; also an attribute.
    """

    def __init__(self, settings: Mapping[str, Any], inbox: str, group: str, most: int) -> None:
        self._settings = {**settings, "group.id": group, "enable.auto.commit": False}
        self._inbox = inbox
        self.most = most
        self._consumer: Consumer | None = None
        self._partitions: list[TopicPartition] = []
        self._looked_at = -_EVERY
        self._is_full = False

    def is_full(self) -> bool:
        """Whether there are too many; once there were, there must be a tenth fewer."""
        now = monotonic()
        if now - self._looked_at >= _EVERY:
            self._looked_at = now
            try:
                open_ = self.count()
            except KafkaException:
                return self._is_full
            self._is_full = open_ >= self.most * (_AGAIN if self._is_full else 1)
        return self._is_full

    def count(self) -> int:
        """Number of open tasks, and of words that no owner has read.

        Raises:
            KafkaException: The brokers do not answer.
        """
        consumer = self._consumer = self._consumer or make_client(Consumer, self._settings)
        if not self._partitions:
            topic = consumer.list_topics(self._inbox, _REQUEST).topics[self._inbox]
            self._partitions = [TopicPartition(self._inbox, n) for n in topic.partitions]
        found = 0
        for place in consumer.committed(self._partitions, _REQUEST):
            begin, end = consumer.get_watermark_offsets(
                TopicPartition(self._inbox, place.partition), _REQUEST
            )
            found += max(0, int(end) - max(place.offset, int(begin))) + _open_of(place.metadata)
        return found


def _open_of(metadata: str | None) -> int:
    try:
        return _decode(metadata or "").open
    except msgspec.MsgspecError:
        return 0


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(OpenNote).decode
