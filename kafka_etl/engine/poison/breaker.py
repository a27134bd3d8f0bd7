"""The circuit breaker: pauses a pipeline after too many dead letters in a row."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from kafka_etl.invocation import Failure

Counted = tuple[int, bool]
"""State of the breaker: dead letters in a row, and whether the next trip is let pass."""


class Breaker:
    """Counts dead letters in a row over the slices of a worker.

    The breaker trips *before* the slice that reaches the limit is committed. After `let_pass`, the
    next slice that reaches the limit is let through, once, and the count starts anew. Slices that
    were not committed are run and counted again: `rewind` restores the state of the last
    `committed`.

    Args:
        max_consecutive: The limit: dead letters in a row at which the breaker trips.
    """

    def __init__(self, max_consecutive: int) -> None:
        self._max = max_consecutive
        self._run = 0
        self._pass = False
        self._settled = (0, False)
        self._errors: deque[str] = deque(maxlen=max_consecutive)

    def trips(self, records: int, failed: Iterable[Failure]) -> bool:
        """Count the failures of one slice, and return whether the pipeline must pause.

        Args:
            records: Number of records in the slice.
            failed: The failures of the slice, in the order of their records.
        """
        run, position = self._run, 0
        longest = run
        for failure in failed:
            run = run + 1 if failure.index == position else 1
            position = failure.index + 1
            longest = max(longest, run)
            self._errors.append(f"{failure.error.type}: {failure.error.message}")
        run = run if position == records else 0
        if longest < self._max:
            self._run = run
            return False
        self._run = 0
        passing, self._pass = self._pass, False
        return not passing

    def let_pass(self) -> None:
        """Start counting anew, and ignore the next trip: a user has resumed the pipeline."""
        self._run, self._pass = self._settled = (0, True)
        self._errors.clear()

    @property
    def counted(self) -> Counted:
        """The state after every slice counted so far, for `committed`."""
        return (self._run, self._pass)

    def committed(self, counted: Counted) -> None:
        """Keep this state for `rewind`: the slices counted up to there are committed."""
        self._settled = counted

    def rewind(self) -> None:
        """Return to the state of the last commit: the slices since then are read again."""
        self._run, self._pass = self._settled

    def reason(self) -> str:
        """Text on why the breaker tripped, with the most frequent errors among the failures."""
        errors = [f"{text} ({n} times)" for text, n in Counter(self._errors).most_common(3)]
        return (
            f"{self._max:,} or more records in a row failed, the last of them not yet dead "
            f"letters; most often of the last {self._max:,}: {'; '.join(errors)}"
        )
