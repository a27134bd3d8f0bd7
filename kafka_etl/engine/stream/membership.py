"""Membership: which partitions came and left, and when the source's client was last served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kafka_etl.contracts import Source
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.metrics import Counters
from kafka_etl.record import Partition

_FRESH: Final = 0.5
"""Seconds after which the client must be served before a commit: a rebalance may have begun."""
_LONG_AGO: Final = float("-inf")


class Membership:
    """Keeps track of the partitions that the source is assigned and loses.

    All methods are called on the worker's main thread.

    Args:
        source: The source.
        quarantine: Forgets the records of partitions that left, and reads the notes of new ones.
        counters: The worker's metrics.
        clock: Monotonic time, in seconds.

    Attributes:
        notes: Partition -> its unchanged offset, and a note on deaths to commit beside the offset.
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
        """Whether the source's client was served, and its membership proven, a moment ago."""
        return self._clock() - self._served < _FRESH

    def doubt(self) -> None:
        """Have the client served before the next commit: partitions may leave during a wait."""
        self._served = _LONG_AGO

    def note_changes(self) -> frozenset[Partition]:
        """Note which partitions came and left; returns the departures since the last call."""
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
        """Begin to collect departures for `departed_since_mark`: a commit is about to start."""
        self._note_departures()
        self._departed = frozenset()

    def departed_since_mark(self) -> frozenset[Partition]:
        """Partitions that left since `mark`.

        The commit under way may hold progress in these partitions, which the source must not take
        in: a partition that has returned by now begins at the offset its last owner committed.
        """
        self._note_departures()
        return self._departed

    def _note_departures(self) -> None:
        departed = self._source.departures()
        self._gone |= departed
        self._departed |= departed
