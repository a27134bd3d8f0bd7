"""How far the partitions of a worker are, all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kafka_etl.contracts import Position
from kafka_etl.record import Partition
from kafka_etl.runtime.messages import Standing


class Positioned(Protocol):
    """The part of a source that matters here."""

    def positions(self) -> Mapping[Partition, Position]: ...


class StandingKeeper:
    """Sums up positions, so that what the daemon is told is small for thousands of partitions.

    A partition is settled up to the time of the last record read from it, or up to when it had no
    lag, whichever is later: a record that comes after a quiet week is not a week late. A partition
    with lag of which nothing was read yet counts from when its lag was seen.
    """

    def __init__(self) -> None:
        self._caught_up_at: dict[Partition, int] = {}
        self._behind_since: dict[Partition, int] = {}

    def look(self, source: Positioned | None, now_ms: int) -> Standing:
        """Take in how far each partition is now; without a source there is none."""
        positions: Mapping[Partition, Position] = {} if source is None else source.positions()
        caught_up_at: dict[Partition, int] = {}
        behind_since: dict[Partition, int] = {}
        lag: int | None = 0
        settled_to: int | None = None
        for partition, position in positions.items():
            behind = position.lag
            lag = None if lag is None or behind is None else lag + behind
            caught_up = now_ms if behind == 0 else self._caught_up_at.get(partition, -1)
            if caught_up >= 0:
                caught_up_at[partition] = caught_up
            if behind:
                known = max(position.timestamp_ms, caught_up)
                if known < 0:
                    known = behind_since[partition] = self._behind_since.get(partition, now_ms)
                settled_to = known if settled_to is None else min(settled_to, known)
        self._caught_up_at, self._behind_since = caught_up_at, behind_since
        return Standing(len(positions), lag if positions else None, settled_to)
