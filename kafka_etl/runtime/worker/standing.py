"""Sums up the positions of a worker's partitions for the worker's reports to the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kafka_etl.contracts import Position
from kafka_etl.record import Partition
from kafka_etl.runtime.messages import Standing


class Positioned(Protocol):
    """The part of a source that the keeper uses."""

    def positions(self) -> Mapping[Partition, Position]: ...


class StandingKeeper:
    """Sums up positions, so that a report stays small for a worker with thousands of partitions.

    A partition counts as settled up to the later of two times: the timestamp of the last record
    read from the partition, and the last time at which the partition had no lag. So a record that
    arrives after a quiet week is not a week late. A partition with a lag and without a record read
    counts as settled up to the time when its lag was first seen.
    """

    def __init__(self) -> None:
        self._caught_up_at: dict[Partition, int] = {}
        self._behind_since: dict[Partition, int] = {}

    def look(self, source: Positioned | None, now_ms: int) -> Standing:
        """Take in the present positions and return their sum; None as source: no partitions.

        Args:
            source: The worker's source.
            now_ms: Present time, in milliseconds since the epoch.
        """
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
