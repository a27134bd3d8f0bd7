"""What owners write into the journal from now on: how far they have read, and heads of tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from kafka_etl.kafka.cluster.tail import Tail
from kafka_etl.record import Partition, SourceRecord
from kafka_etl.task_history.index import Place, mark_of
from kafka_etl.tasks.head import Head, decode_head
from kafka_etl.tasks.journal import Kind, parse_key

_WAIT: Final = 0.2


class Watch:
    """Follows partitions of a journal.

    Args:
        settings: Settings of consumers.
        journal: Name of the journal.
        begins: Partition -> the first offset to read.
        places: The tasks whose heads are wanted, each (partition, id).

    Attributes:
        marks: Partition -> the next offset of the inbox that its owner will read.
        heads: The newest heads of the tasks that have changed; None: the task is forgotten.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        journal: str,
        begins: Mapping[int, int],
        places: Collection[Place],
    ) -> None:
        self._tail = Tail(settings, {Partition(journal, n): at for n, at in begins.items()})
        self._places = frozenset(places)
        self.marks: dict[int, int] = {}
        self.heads: dict[Place, Head | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tail.__exit__(kind, error, traceback)

    def poll(self, seconds: float = _WAIT) -> list[Place]:
        """Take in what has come; return the tasks that have changed, none after so many seconds.

        Raises:
            JournalUnreadable: A later release has written the journal.
            KafkaEtlError: The journal cannot be read.
        """
        found = [self._take(record) for record in self._tail.poll(seconds)]
        return [place for place in found if place is not None]

    def _take(self, record: SourceRecord) -> Place | None:
        key, value, number = parse_key(record.key()), record.value(), record.partition() or 0
        if key is None:
            return None
        if key.kind is Kind.MARK and value is not None:
            self.marks[number] = mark_of(record, value).inbox
        place = (number, key.task)
        if key.kind is not Kind.HEAD or place not in self._places:
            return None
        with suppress(msgspec.MsgspecError):  # an unreadable head leaves the task as it was
            self.heads[place] = None if value is None else decode_head(value)
            return place
        return None

    def has_taken(self, ends: Mapping[int, int]) -> bool:
        """Whether the owners have read the inbox up to these offsets."""
        return all(self.marks.get(number, 0) >= end for number, end in ends.items())

    def until_taken(self, ends: Mapping[int, int], patience: float) -> bool:
        """Wait until the owners have read the inbox up to these offsets.

        Args:
            ends: Partition -> the offset after the last word.
            patience: Seconds without any progress of an owner after which to give up.

        Returns:
            Whether they have.
        """
        deadline = monotonic() + patience
        while not self.has_taken(ends) and monotonic() < deadline:
            before = dict(self.marks)
            self.poll()
            if self.marks != before:
                deadline = monotonic() + patience
        return self.has_taken(ends)
