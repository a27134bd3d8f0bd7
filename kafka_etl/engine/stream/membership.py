"""Membership: which partitions came and left, and how lately the engine looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kafka_etl.contracts import Source
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.metrics import Counters
from kafka_etl.record import Partition

_FRESH: Final = 0.5
"""Seconds the proof of membership is good for: a rebalance may renew it while we work."""
_LONG_AGO: Final = float("-inf")


class Membership:
    """Takes in what the source tells of partitions.

    Attributes:
        notes: Offsets, unchanged, and notes on deaths that must be committed beside them.
    """

    def __init__(
        self,
        source: Source,
        quarantine: Quarantine,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._quarantine = quarantine
        self._counters = counters
        self._clock = clock
        self._served = _LONG_AGO
        self._gone: frozenset[Partition] = frozenset()
        self._departed: frozenset[Partition] = frozenset()
        self.notes: dict[Partition, tuple[int, str]] = {}

    def is_fresh(self) -> bool:
        """Whether the client was served, and the membership proven, a moment ago."""
        return self._clock() - self._served < _FRESH

    def doubt(self) -> None:
        """Partitions may leave unnoted from now on: look before the next commit."""
        self._served = _LONG_AGO

    def note_changes(self) -> frozenset[Partition]:
        """Take in which partitions came and left; returns those that left since the last time."""
        self._served = self._clock()
        self._note_departures()
        gone, self._gone = self._gone, frozenset()
        arrivals = self._source.arrivals()
        if gone or arrivals:
            self._counters.add("rebalances")
            self._quarantine.forget(gone)
            self.notes = {tp: note for tp, note in self.notes.items() if tp not in gone}
            self.notes |= self._quarantine.suspects.consider(arrivals)
        return gone

    def mark(self) -> None:
        """A commit is under way from here on: note who leaves, for `departed_since_mark`."""
        self._note_departures()
        self._departed = frozenset()

    def departed_since_mark(self) -> frozenset[Partition]:
        """Partitions that left since `mark`.

        The commit under way may hold progress of theirs, but the source does not track that
        progress: a partition that is back by now begins where its last owner got to.
        """
        self._note_departures()
        return self._departed

    def _note_departures(self) -> None:
        departed = self._source.departures()
        self._gone |= departed
        self._departed |= departed
