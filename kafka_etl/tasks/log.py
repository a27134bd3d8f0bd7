"""What an owner and its log in Kafka give each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kafka_etl.invocation import DeadLetter
from kafka_etl.record import Offsets, Partition, SourceRecord
from kafka_etl.tasks.journal import Mark
from kafka_etl.tasks.rows import Row


@dataclass(slots=True)
class Entry:
    """What one transaction writes, besides offsets.

    Attributes:
        journal: (number of the partition, key, value) of records of the journal.
        moves: Words that stand in the wrong partition of the inbox, each with its own partition.
        rows: Rows of results; those without a topic go to the pipeline's own.
        letters: Tasks that have ended without success.
        notes: Partition -> (number of the commit, number of open tasks before it).
    """

    journal: list[tuple[int, bytes, bytes | None]] = field(
        default_factory=list[tuple[int, bytes, bytes | None]]
    )
    moves: list[tuple[int, SourceRecord]] = field(default_factory=list[tuple[int, SourceRecord]])
    rows: list[Row] = field(default_factory=list[Row])
    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    notes: dict[Partition, tuple[int, int]] = field(
        default_factory=dict[Partition, tuple[int, int]]
    )


@dataclass(frozen=True, slots=True)
class Restored:
    """A partition of the journal, read to its end.

    Attributes:
        heads: Task -> its head.
        mark: How far the last owner had read the inbox; None: there was none.
        end: Offset of the journal up to which the partition was read.
    """

    heads: Mapping[str, bytes]
    mark: Mark | None
    end: int = 0


class HeadTail(Protocol):
    """Follows the journals of partitions that others own; no method waits."""

    def follow(self, positions: Mapping[int, int]) -> None:
        """Follow these partitions and no others: number of a partition -> where to begin.

        A partition that is followed already goes on where the last call of `changes` has stopped.
        """
        ...

    def changes(self) -> Sequence[tuple[str, bytes | None]]:
        """(task, its head) of all changes since the last call; None: the task is forgotten."""
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

    def commit(self, entry: Entry, offsets: Offsets, lease: object) -> Mapping[int, int]:
        """Write an entry and the offsets of the inbox in one transaction.

        Returns:
            Number of a partition -> an offset of its journal: what others write comes behind it.

        Raises:
            Aborted: Nothing is durable.
            OutcomeUnknown: Only the journal can tell.
        """
        ...

    def restore(self, partition: Partition) -> Restored:
        """Read the journal of a partition of the inbox, up to the end that the journal has now.

        Raises:
            OutcomeUnknown: No broker answers.
            JournalUnreadable: This release cannot read the mark.
            TaskHistoryLost: The mark is about another inbox.
        """
        ...

    def inputs(self, partition: Partition, begin: int, end: int) -> Iterable[SourceRecord]:
        """Read the records of a partition of the inbox from one offset up to another.

        Raises:
            OutcomeUnknown: No broker answers.
        """
        ...
