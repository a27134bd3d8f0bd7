"""The contract of sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kafka_etl.record import Batch, Offsets, Partition


@dataclass(frozen=True, slots=True)
class Arrival:
    """A partition that was assigned to the worker.

    Attributes:
        offset: The group's committed offset; the source begins to read there.
        note: Text beside that offset, for the careful mode of `kafka_etl.engine.poison`.
    """

    offset: int
    note: str


@dataclass(frozen=True, slots=True)
class Position:
    """The progress of one partition.

    Attributes:
        next: The durable offset: all records before are settled for good.
        end: The offset after the last readable record; None: no broker has told the end yet.
        timestamp_ms: Timestamp of the last record read; -1: no record was read.
    """

    next: int
    end: int | None
    timestamp_ms: int

    @property
    def lag(self) -> int | None:
        """Offsets between `next` and the end, markers included; None: unknown."""
        return None if self.end is None else self.end - self.next


class Source(Protocol):
    """Hands out batches, and tracks three offsets per partition: durable <= taken <= given.

    `given` moves with each batch, `taken` when the sink has taken a settlement, and `durable` when
    the sink has made the settlement durable; for most sinks both happen at once.

    The engine and the worker call every method on the worker's main thread, one call at a time. The
    exceptions are `positions` and `joined`: the worker also reads them inside the source's own
    calls of the `Pulse`, so neither may block, raise or call the pulse. A source never commits:
    progress becomes durable in the sink's commit. A call may block as long as its docstring says; a
    wait of more than a few seconds calls the `Pulse`.

    Raises:
        KafkaEtlError: The pipeline stops. `pauses` must be false: the engine does not rewind the
            source for an error of the source.
        Reconnect: The worker closes the source, waits for up to 10 s, opens the sink again and
            makes a new source.
        Abandoned: The worker stops, raised by the pulse.
    """

    def poll(self, limit: int) -> Batch | None:
        """Gather the next batch, of at most `limit` records.

        Blocks for at most 0.1 s for the first record, and for `max_wait` for the rest.

        Returns:
            The batch; None if there was no record.
        """
        ...

    def serve(self) -> None:
        """Keep the membership alive and refresh `lease`; gather no batch until the next `poll`.

        Called between slices and before a commit; does not block. Partitions may arrive and leave.
        """
        ...

    @property
    def lease(self) -> object:
        """Proof of membership as of the last `poll` or `serve`; None: no member, no commit."""
        ...

    def arrivals(self) -> Mapping[Partition, Arrival]:
        """Take the partitions assigned since the last call, after each `poll` and `serve`."""
        ...

    def departures(self) -> frozenset[Partition]:
        """Take the partitions that left since the last call: nothing of them may be committed."""
        ...

    def advance(self, progress: Offsets) -> None:
        """The sink has taken `progress`; `rewind` goes back no further from here on."""
        ...

    def settle(self, progress: Offsets) -> None:
        """The sink has made `progress` durable; lag and `finished` go by these offsets."""
        ...

    def place(self, offsets: Offsets) -> None:
        """Read these partitions from where they stand in the sink, which keeps the offsets.

        With such a sink (`Deployment.offsets_in_sink`) a partition that arrives waits, unread,
        for its first call. Partitions that are not assigned are ignored.
        """
        ...

    def rewind(self) -> None:
        """Read again from the taken offsets: the batches since are not committed.

        Called after an aborted commit, and when a batch is given up before its commit.
        """
        ...

    def reload(self) -> None:
        """The outcome of a commit is unknown: take the group's committed offsets as the truth.

        Called after the sink was opened again. Blocks for up to two minutes, with pulses, until a
        broker answers.

        Raises:
            Reconnect: The committed offsets cannot be read.
        """
        ...

    def positions(self) -> Mapping[Partition, Position]:
        """How far each assigned partition is; asks no broker."""
        ...

    @property
    def joined(self) -> bool:
        """Whether the source is a member of its group, perhaps without a partition."""
        ...

    @property
    def trouble(self) -> str | None:
        """What the source waits for, in a few words; None: nothing is in the way."""
        ...

    def finished(self, ends: Offsets) -> bool:
        """Whether the group has committed these offsets, on whichever host its members run."""
        ...

    def close(self) -> None:
        """Leave the group's partitions to others.

        Never raises. Records that were not settled are read again by the partition's next owner.
        """
        ...


class Accounts(Protocol):
    """Records of the source's own that move with its offsets, in the same Kafka transaction."""

    @property
    def topic(self) -> str:
        """Where the records go."""
        ...

    def taken_over(self) -> None:
        """The worker has taken over its transactional id; called on the commit thread.

        Raises:
            OutcomeUnknown: No broker answers: the worker takes over once more.
            KafkaEtlError: Another worker has the records now; this one must stop.
        """
        ...

    @property
    def owes(self) -> bool:
        """Whether records are due that must be durable before the offsets behind them are."""
        ...

    def due(self, progress: Offsets) -> Sequence[tuple[bytes, bytes | None]]:
        """Key and value of each record to write with these offsets; called on the commit thread.

        Records that are owed are among them, whatever the offsets are.
        """
        ...

    def written(self, progress: Offsets) -> None:
        """The records for these offsets are durable; called on the commit thread."""
        ...


class Reconnect(Exception):
    """Raised by a source whose client is beyond repair: the worker makes a new source.

    Args:
        reason: For the log.
        fenced: Whether another client took the worker's id; the third time within a minute the
            pipeline stops with `Fenced`.
    """

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced
