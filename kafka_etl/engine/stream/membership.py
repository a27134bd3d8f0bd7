"""Membership: which partitions came and left, and when the source's client was last served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from kafka_etl.contracts import Arrival, Source
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.invocation import Tenure
from kafka_etl.metrics import Counters
from kafka_etl.record import Offsets, Partition

_FRESH: Final = 0.5
"""Seconds after which the client must be served before a commit: a rebalance may have begun."""
_LONG_AGO: Final = float("-inf")


class Membership:
    """Keeps track of the partitions that the source is assigned and loses.

    All methods are called on the worker's main thread. The commit thread may read `tenure`.

    Args:
        source: The source.
        quarantine: Forgets the records of partitions that left, and reads the notes of new ones.
        counters: The worker's metrics.
        clock: Monotonic time, in seconds.
        place: Called with the group's offset of each partition that arrived, if the sink keeps the
            offsets: returns where the partitions stand there.

    Attributes:
        notes: Partition -> its unchanged offset, and a note on deaths to commit beside the offset.
        tenure: The hold on the partitions since `mark`, as of the last look.
    """

    def __init__(
        self,
        source: Source,
        quarantine: Quarantine,
        counters: Counters,
        clock: Callable[[], float],
        place: Callable[[Offsets], Offsets] | None = None,
    ) -> None:
        self._source = source
        self._quarantine = quarantine
        self._counters = counters
        self._clock = clock
        self._place = place
        self._served = _LONG_AGO
        self._gone: frozenset[Partition] = frozenset()
        self._arrived: Mapping[Partition, Arrival] = {}
        self.tenure = Tenure(None)
        self.notes: dict[Partition, tuple[int, str]] = {}

    def is_fresh(self) -> bool:
        """Whether the source's client was served, and its membership proven, a moment ago."""
        return self._clock() - self._served < _FRESH

    def doubt(self) -> None:
        """Have the client served before the next commit: partitions may leave during a wait."""
        self._served = _LONG_AGO

    def note_changes(self) -> frozenset[Partition]:
        """Note which partitions came and left; returns the departures since the last call.

        If the sink keeps the offsets, waits until the sink has told where new partitions stand.
        """
        self._served = self._clock()
        self.note_departures()
        gone, self._gone = self._gone, frozenset()
        waiting = {tp: at for tp, at in self._arrived.items() if tp not in gone}
        self._arrived = {**waiting, **self._source.arrivals()}
        if gone or self._arrived:
            self._counters.add("rebalances")
            self._quarantine.forget(gone)
            self.notes = {tp: note for tp, note in self.notes.items() if tp not in gone}
        if self._arrived:
            self._take_over(self._arrived)
            self._arrived = {}
        return gone

    def _take_over(self, arrivals: Mapping[Partition, Arrival]) -> None:
        if self._place is not None:
            standing = self._place({tp: arrival.offset for tp, arrival in arrivals.items()})
            arrivals = {
                tp: replace(arrival, offset=standing.get(tp, arrival.offset))
                for tp, arrival in arrivals.items()
            }
        self.notes |= self._quarantine.suspects.consider(arrivals)

    def mark(self) -> None:
        """Begin to collect departures for `tenure`: a commit is about to start.

        Departures that nobody has acted upon are among them. Those before are not: such a partition
        may be back by now.
        """
        self.note_departures()
        self.tenure = Tenure(self._source.lease, self._gone)

    def note_departures(self) -> None:
        """Take in which partitions left, in the midst of a commit."""
        departed = self._source.departures()
        self._gone |= departed
        # One object, so that the commit thread never sees the new lease beside old departures.
        self.tenure = Tenure(self._source.lease, self.tenure.departed | departed)
