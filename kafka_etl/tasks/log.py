"""What an owner and its log in Kafka give each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from kafka_etl.invocation import DeadLetter
from kafka_etl.record import Offsets, Partition, SourceRecord
from kafka_etl.tasks.open_note import OpenNote
from kafka_etl.tasks.rows import Row


@dataclass(slots=True)
class Entry:
    """What one transaction writes, besides offsets.

    Attributes:
        journal: (number of the partition, key, value) of records of the journal.
        moves: Words that stand in the wrong partition of the inbox, each with its own partition.
        rows: Rows of results; those without a topic go to the pipeline's own.
        letters: (topic, dead letter) of tasks that have ended without success; a topic that is
            empty is the pipeline's own.
        deliveries: (number of the partition, row) of what goes to destinations outside of the
            cluster; a row names the topic of its destination.
        notes: Partition -> what is noted beside the offset.
    """

    journal: list[tuple[int, bytes, bytes | None]] = field(
        default_factory=list[tuple[int, bytes, bytes | None]]
    )
    moves: list[tuple[int, SourceRecord]] = field(default_factory=list[tuple[int, SourceRecord]])
    rows: list[Row] = field(default_factory=list[Row])
    letters: list[tuple[str, DeadLetter]] = field(default_factory=list[tuple[str, DeadLetter]])
    deliveries: list[tuple[int, Row]] = field(default_factory=list[tuple[int, Row]])
    notes: dict[Partition, OpenNote] = field(default_factory=dict[Partition, OpenNote])


Ranges = Mapping[Partition, tuple[int, int]]
"""Partition of the inbox -> first offset of its journal, and the offset behind the last."""
JournalRecord = tuple[Partition, bytes | None, bytes | None]
"""Partition of the inbox, key and value of a record of its journal."""


class FoundHead(NamedTuple):
    """A head in the journal of another owner.

    Attributes:
        partition: Number of the partition.
        data: The head; None: the task is forgotten.
        position: The place in the journal behind the head.
    """

    partition: int
    task: str
    data: bytes | None
    position: int


class HeadTail(Protocol):
    """Follows the journals of partitions that others own; no method waits."""

    def follow(self, positions: Mapping[int, int]) -> None:
        """Follow these partitions and no others: number of a partition -> where to begin.

        A partition that is followed already goes on where the last call of `changes` has stopped.
        """
        ...

    def changes(self) -> Sequence[FoundHead]:
        """All heads since the last call."""
        ...

    def close(self) -> None: ...


class TaskLog(Protocol):
    """The inbox and the journal, in Kafka."""

    @property
    def partitions(self) -> int:
        """Number of partitions of both."""
        ...

    def open(self) -> None:
        """Take over the transactional id; see `kafka_etl.contracts.Sink.open`."""
        ...

    def close(self) -> None: ...

    def partition(self, number: int) -> Partition:
        """The partition of the inbox with this number."""
        ...

    def commit(self, entry: Entry, offsets: Offsets, lease: object) -> Mapping[int, int]:
        """Write an entry and the offsets of the inbox in one transaction.

        Returns:
            Number of a partition -> an offset of its journal: what others write is there or later,
            and what is before has been read, or is ours. It may be that of an earlier commit.

        Raises:
            Aborted: Nothing is durable.
            OutcomeUnknown: Only the journal can tell.
        """
        ...

    @property
    def identity(self) -> str:
        """The cluster, and the id of the journal."""
        ...

    def journal_ranges(self, partitions: Collection[Partition]) -> Ranges:
        """Where the journals of these partitions of the inbox begin and end now.

        The end is behind the last record, and not only behind those that are committed.

        Raises:
            OutcomeUnknown: No broker answers.
            JournalUnreadable: This release cannot read the mark.
            TaskHistoryLost: The mark is about another inbox.
        """
        ...

    def journal(self, ranges: Ranges) -> Iterator[JournalRecord]:
        """Read the journals of these partitions in these ranges.

        Raises:
            OutcomeUnknown: No broker answers, or the transaction of an owner that has died is open.
        """
        ...

    def inbox_ends(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The offsets behind the last records of these partitions of the inbox.

        Raises:
            OutcomeUnknown: No broker answers.
        """
        ...

    def inputs(self, partition: Partition, begin: int, end: int) -> Iterable[SourceRecord]:
        """Read the records of a partition of the inbox from one offset up to another.

        Raises:
            OutcomeUnknown: No broker answers.
        """
        ...
