"""The circuit breaker: pauses a pipeline before too many dead letters, or new kinds of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from kafka_etl.dead_letters import Cause, Causes, cause_of
from kafka_etl.engine.poison.kinds import Kinds
from kafka_etl.invocation import Failure
from kafka_etl.record import SourceRecord

NEW_KINDS: Final = "new_kinds_within"
"""`Trip.limit` of a trip at a new kind alone."""

_SHOWN: Final = 3
_REMEMBERED: Final = 1000
"""Failures that are remembered for the text of a trip, unless the window needs more."""


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """The limits at which the breaker trips.

    Attributes:
        max_consecutive: Dead letters in a row.
        max_ratio: Share of dead letters, above 0 to 1, among the last records; None: no limit.
        window: Number of these last records.
        min_records: Records before which the share is not judged.
        new_kinds: The setting of `Kinds.watching` in words, for the text of a trip.
    """

    max_consecutive: int = 1000
    max_ratio: float | None = None
    window: int = 1000
    min_records: int = 100
    new_kinds: str = ""


class Counted(NamedTuple):
    """The state of the breaker after some slices.

    Attributes:
        run: Dead letters in a row, up to the last record.
        passing: Whether the next trip is let pass.
        records: Number of records since the start, the last resume, or the last trip let pass.
        failed: Number of a failed record, counted from 1, and its cause; the latest ones, in order.
    """

    run: int = 0
    passing: bool = False
    records: int = 0
    failed: tuple[tuple[int, Cause], ...] = ()


@dataclass(frozen=True, slots=True)
class Trip:
    """Why the breaker tripped.

    Attributes:
        limit: Name of the setting that was reached.
        what: The limit and the numbers, as a sentence.
        causes: The commonest causes, three at most.
    """

    limit: str
    what: str
    causes: tuple[Cause, ...]

    @property
    def reason(self) -> str:
        """The trip as one text."""
        return f"{self.what}; most often: {'; '.join(map(str, self.causes))}"


class Breaker:
    """Counts dead letters over the slices of a worker.

    The breaker trips *before* the slice that reaches a limit is committed, and counts that slice
    once more when the slice is read again. After `let_pass`, the next slice that reaches a limit
    is let through, once, and the count starts anew. Slices that were not committed are run and
    counted again: `rewind` restores the state of the last `committed`.

    The count costs nothing per good record. Where a slice ends does not change the answer: a limit
    is reached at a certain record, and the slice with that record trips.

    Args:
        limits: The limits.
        kinds: The kinds of dead letters so far; none of them is new.
    """

    def __init__(self, limits: BreakerLimits, kinds: Kinds | None = None) -> None:
        self._limits = limits
        self._kinds = kinds or Kinds()
        self._counted = self._settled = Counted()
        self._unseen: list[Cause] = []
        self._too_many = True
        self.trip: Trip | None = None
        most = min(limits.max_consecutive, _REMEMBERED)
        self._remembered = max(most, limits.window if limits.max_ratio else 0)

    def trips(self, records: Sequence[SourceRecord], failed: Sequence[Failure]) -> bool:
        """Count the failures of one slice, and return whether the pipeline must pause.

        Args:
            records: The records of the slice.
            failed: The failures of the slice, in the order of their records.
        """
        before = self._counted
        new = [
            (before.records + failure.index + 1, cause_of(failure, records[failure.index]))
            for failure in failed
        ]
        run, longest = _runs(before.run, len(records), failed)
        total = before.records + len(records)
        latest = (*before.failed, *new) if new else before.failed
        trip = self._in_a_row(longest, latest) or self._in_window(before.records, total, latest)
        unseen = self._kinds.unseen(cause for _, cause in new) if new else []
        too_many = trip is not None and not before.passing
        if too_many or unseen:
            self._unseen, self._too_many = unseen, too_many
            self.trip = trip if too_many else self._of_new_kinds(unseen)
            return True
        if trip is not None:
            self._counted = Counted()  # let pass
        else:
            self._counted = Counted(run, before.passing, total, latest[-self._remembered :])
        return False

    def trips_anew(self, records: Sequence[SourceRecord], failed: Sequence[Failure]) -> bool:
        """Count the slices of one commit again: the sink has refused some of their outputs.

        A batch that was run meanwhile is counted no more. Arguments and answer as of `trips`, for
        all the records of the commit.
        """
        self.rewind()
        return self.trips(records, failed)

    def let_pass(self) -> None:
        """Count anew, and let pass what the breaker tripped at: a user has resumed the pipeline."""
        self._counted = self._settled = Counted(passing=self._too_many)
        self._kinds.accept(self._unseen)
        self._unseen = []

    @property
    def still_trips(self) -> bool:
        """Whether the last trip stands, after other workers' kinds have been learnt.

        The same kind may have been resumed, and become a dead letter, at another worker.
        """
        return self._too_many or bool(self._kinds.unseen(self._unseen))

    @property
    def counted(self) -> Counted:
        """The state after every slice counted so far, for `committed`."""
        return self._counted

    def committed(self, counted: Counted) -> None:
        """Keep this state for `rewind`: the slices counted up to there are committed."""
        self._settled = counted

    def rewind(self) -> None:
        """Return to the state of the last commit: the slices since then are read again."""
        self._counted = self._settled

    def reason(self) -> str:
        """Text on why the breaker tripped: the limit, the numbers, and the commonest causes."""
        return self.trip.reason if self.trip else ""

    def _in_a_row(self, longest: int, latest: Sequence[tuple[int, Cause]]) -> Trip | None:
        limit = self._limits.max_consecutive
        if longest < limit:
            return None
        what = (
            f"{limit:,} or more records in a row failed (`max_consecutive: {limit}`), the last of "
            "them not yet dead letters"
        )
        return Trip("max_consecutive", what, _commonest(latest[-limit:]))

    def _in_window(
        self, before: int, total: int, latest: Sequence[tuple[int, Cause]]
    ) -> Trip | None:
        """The trip at the first record after `before` at which the share is reached, if any.

        The share grows at failures only, and is judged for the first time at `min_records`.
        """
        limits = self._limits
        if limits.max_ratio is None or not latest or total < limits.min_records:
            return None
        first = max(before + 1, limits.min_records)
        if latest[-1][0] < first and first != limits.min_records:
            return None
        places = [place for place, _ in latest]
        points = places[bisect_right(places, first - 1) :]
        if first == limits.min_records:
            points = [first, *points]
        for point in points:
            size = min(limits.window, point)
            begin, end = bisect_right(places, point - size), bisect_right(places, point)
            if (end - begin) / size >= limits.max_ratio:
                what = (
                    f"{end - begin:,} of the last {size:,} records failed (`max_ratio: "
                    f"{limits.max_ratio:g}`), the last of them not yet dead letters"
                )
                return Trip("max_ratio", what, _commonest(latest[begin:end]))
        return None

    def _of_new_kinds(self, unseen: Sequence[Cause]) -> Trip:
        what = (
            f"a kind of failure that this pipeline never had, within {self._limits.new_kinds} of "
            "a change of an operator or of the configuration (`new_kinds_within`), and not yet a "
            "dead letter"
        )
        return Trip(NEW_KINDS, what, _commonest([(0, cause) for cause in unseen]))


def _runs(run: int, records: int, failed: Iterable[Failure]) -> tuple[int, int]:
    """The dead letters in a row up to the slice's last record, and the longest row of the slice.

    Args:
        run: Dead letters in a row before the slice.
        records: Number of records in the slice.
        failed: The failures of the slice, in the order of their records.
    """
    position, longest = 0, run
    for failure in failed:
        run = run + 1 if failure.index == position else 1
        position = failure.index + 1
        longest = max(longest, run)
    return (run if position == records else 0), longest


def _commonest(failed: Iterable[tuple[int, Cause]]) -> tuple[Cause, ...]:
    causes = Causes()
    causes.include(cause for _, cause in failed)
    return causes.commonest()[:_SHOWN]
