"""The finished part of a batch that is not yet committed."""

from __future__ import annotations

from dataclasses import dataclass, field

from kafka_etl.contracts import Aborted
from kafka_etl.invocation import Settlement
from kafka_etl.record import Batch, Partition
from kafka_etl.settle import excluding


@dataclass(slots=True)
class Uncommitted:
    """Slices of the batch in hand that are run and settled, but not committed.

    Attributes:
        since: When work on these slices began, in seconds of the engine's clock.
        slices: Each slice with its settlement, in the order of the batch.
        dropped: Records that operators dropped on purpose in these slices.
        departed: Partitions that left since the batch was gathered.
    """

    since: float
    slices: list[tuple[Batch, Settlement]] = field(default_factory=list[tuple[Batch, Settlement]])
    dropped: int = 0
    departed: frozenset[Partition] = frozenset()

    @property
    def records(self) -> int:
        """Source records in these slices."""
        return sum(len(batch) for batch, _ in self.slices)

    @property
    def size(self) -> int:
        """Bytes of the outputs of these slices."""
        return sum(settlement.outputs.size for _, settlement in self.slices)

    def add(self, part: Batch, settlement: Settlement, dropped: int = 0) -> None:
        """Take in one more settled slice."""
        self.slices.append((part, settlement))
        self.dropped += dropped

    def leave_out(self, partitions: frozenset[Partition]) -> None:
        """Drop the slices' part of partitions that left: their next owner reads those records.

        Raises:
            Aborted: Some outputs belong to all records of a slice, and therefore to records of the
                departed partitions as well.
        """
        self.departed |= partitions
        remaining: list[tuple[Batch, Settlement]] = []
        for batch, settlement in self.slices:
            rest = excluding(batch, settlement, partitions)
            if rest is None:
                raise Aborted("a partition left that outputs were made from", routine=True)
            remaining.append((batch.without(partitions), rest))
        self.slices = remaining

    def clear(self, now: float) -> None:
        """The slices are committed; work on the rest of the batch begins now."""
        self.slices.clear()
        self.dropped = 0
        self.since = now
