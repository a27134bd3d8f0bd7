"""The shape of sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kafka_etl.record import Batch, Offsets, Partition


@dataclass(frozen=True, slots=True)
class Arrival:
    """A newly assigned partition.

    Attributes:
        offset: The offset that the group has committed.
        note: The note that the last owner committed beside the offset.
    """

    offset: int
    note: str


@dataclass(frozen=True, slots=True)
class Position:
    """The progress of one partition.

    Attributes:
        next: The offset up to which every record is settled.
        end: The offset after the last readable record; None: no broker has reported the end yet.
        timestamp_ms: Timestamp of the last record read, in milliseconds; -1: no record was read.
    """

    next: int
    end: int | None
    timestamp_ms: int

    @property
    def lag(self) -> int | None:
        """Offsets between `next` and `end`, transaction markers included; None: unknown."""
        return None if self.end is None else self.end - self.next


class Source(Protocol):
    """A source: hands out batches and keeps the next unsettled offset of each partition.

    The engine and the worker call all methods on the worker's main thread. A source never commits:
    progress becomes durable in the sink's commit. Any method but `close` may raise `KafkaEtlError`,
    which pauses or stops the pipeline, or `Reconnect`, after which the worker closes the source and
    builds a new source. A wait may be long if the source calls its `Pulse` several times a second.
    """

    def poll(self, limit: int) -> Batch | None:
        """Return a batch of at most `limit` records; None after a short wait without a record."""
        ...

    def serve(self) -> None:
        """Keep the membership alive and refresh `lease`; fetch nothing until the next `poll`."""
        ...

    @property
    def lease(self) -> object:
        """Proof of group membership as of the last `poll` or `serve`, for the sink's commit."""
        ...

    def arrivals(self) -> Mapping[Partition, Arrival]:
        """Partitions assigned since the last call."""
        ...

    def departures(self) -> frozenset[Partition]:
        """Partitions revoked or lost since the last call: their progress must not be committed."""
        ...

    def advance(self, progress: Offsets) -> None:
        """Take in the offsets of a successful commit."""
        ...

    def rewind(self) -> None:
        """Go back to the last settled offsets: nothing since then was committed."""
        ...

    def reload(self) -> None:
        """Go back to the offsets that the group has committed: a commit has an unknown outcome."""
        ...

    def positions(self) -> Mapping[Partition, Position]:
        """The progress of each assigned partition."""
        ...

    @property
    def joined(self) -> bool:
        """Whether the source is a member of its group, with or without partitions."""
        ...

    @property
    def trouble(self) -> str | None:
        """A few words on the source's present obstacle; None: the source knows of no obstacle."""
        ...

    def finished(self, ends: Offsets) -> bool:
        """Whether the group, on all its members together, has committed up to these offsets."""
        ...

    def close(self) -> None:
        """Leave the group; must not raise. The next owner reads unsettled records again."""
        ...


class Reconnect(Exception):
    """The source's client is unusable: the worker builds a new source.

    The new source begins at the committed offsets.

    Args:
        reason: For the log.
        fenced: Whether the broker reported another client with this member's id.
    """

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced
