"""The shape of sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kafka_etl.record import Batch, Offsets, Partition


@dataclass(frozen=True, slots=True)
class Arrival:
    """A partition that was assigned: where the group stands in it, and the note left there."""

    offset: int
    note: str


@dataclass(frozen=True, slots=True)
class Position:
    """How far one partition is.

    Attributes:
        next: The offset up to which all is settled.
        end: The offset after the last readable record; None: no broker has told it yet.
        timestamp_ms: Of the last record read; -1: none was.
    """

    next: int
    end: int | None
    timestamp_ms: int

    @property
    def lag(self) -> int | None:
        """Records behind the end, markers included; None: unknown."""
        return None if self.end is None else self.end - self.next


class Source(Protocol):
    """Hands out batches and keeps, per partition, the offset up to which all is settled.

    Called from one thread. It never commits: progress becomes durable in the sink's commit.
    Any method may raise `KafkaEtlError`, which stops the pipeline, or `Reconnect`.
    """

    def poll(self, limit: int) -> Batch | None:
        """The next batch of at most `limit` records; None after a short wait without any."""
        ...

    def serve(self) -> None:
        """Keep the membership alive and refresh `lease`; gather no batch until the next `poll`."""
        ...

    @property
    def lease(self) -> object:
        """Proof of membership as of the last `poll` or `serve`."""
        ...

    def arrivals(self) -> Mapping[Partition, Arrival]:
        """Partitions assigned since the last call."""
        ...

    def departures(self) -> frozenset[Partition]:
        """Partitions that left since the last call: nothing of theirs may be committed."""
        ...

    def advance(self, progress: Offsets) -> None:
        """The commit of `progress` succeeded."""
        ...

    def rewind(self) -> None:
        """The commit did not happen: read again from the last settled offsets."""
        ...

    def reload(self) -> None:
        """Whether the commit happened is unknown: the committed offsets are the truth."""
        ...

    def positions(self) -> Mapping[Partition, Position]:
        """How far each assigned partition is."""
        ...

    @property
    def joined(self) -> bool:
        """Whether it is a member of its group, be it without a partition."""
        ...

    @property
    def trouble(self) -> str | None:
        """What is in its way right now, in a few words, as far as it knows."""
        ...

    def finished(self, ends: Offsets) -> bool:
        """Whether the group has committed these offsets, wherever its members run."""
        ...

    def close(self) -> None:
        """Leave. Never raises; what was not settled is read again by the next owner."""
        ...


class Reconnect(Exception):
    """The client is beyond repair: build a new one and go on from the committed offsets."""

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced
