"""What is done of a batch and not yet durable."""

from __future__ import annotations

from dataclasses import dataclass, field

from kafka_etl.contracts import Aborted
from kafka_etl.invocation import Settlement
from kafka_etl.record import Batch, Partition
from kafka_etl.settle import excluding


@dataclass(slots=True)
class Uncommitted:
    """Slices of the batch in hand that are run and judged, but not committed.

    Attributes:
        left: Partitions that left since the batch was gathered.
    """

    since: float
    slices: list[tuple[Batch, Settlement]] = field(default_factory=list[tuple[Batch, Settlement]])
    dropped: int = 0
    left: frozenset[Partition] = frozenset()

    @property
    def records(self) -> int:
        return sum(len(batch) for batch, _ in self.slices)

    @property
    def size(self) -> int:
        return sum(settlement.outputs.size for _, settlement in self.slices)

    def leave_out(self, partitions: frozenset[Partition]) -> None:
        """These partitions left: what was done for them is for their next owner to do."""
        self.left |= partitions
        remaining: list[tuple[Batch, Settlement]] = []
        for batch, settlement in self.slices:
            rest = excluding(batch, settlement, partitions)
            if rest is None:
                raise Aborted("a partition left that outputs were made from", routine=True)
            remaining.append((batch.without(partitions), rest))
        self.slices = remaining
