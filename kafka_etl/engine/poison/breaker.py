"""Stopping a run-away: too many dead letters in a row."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from kafka_etl.invocation import Failure

Counted = tuple[int, bool]
"""Where the breaker stands: dead letters in a row, and whether the next run of them may pass."""


class Breaker:
    """Counts dead letters in a row over the slices of a worker.

    Trips *before* the slice that reaches the limit is committed. `let_pass` lets the next such
    slice through, once, and starts counting anew. What was not committed is run, and counted,
    again: `rewind` goes back to where the last `committed` was.
    """

    def __init__(self, max_consecutive: int) -> None:
        self._max = max_consecutive
        self._run = 0
        self._pass = False
        self._settled = (0, False)
        self._errors: deque[str] = deque(maxlen=max_consecutive)

    def trips(self, records: int, failed: Iterable[Failure]) -> bool:
        """Take in a slice of `records` of which these failed; whether the limit is reached."""
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
        self._run, self._pass = self._settled = (0, True)
        self._errors.clear()

    @property
    def counted(self) -> Counted:
        """Where it stands, with every slice taken in so far."""
        return (self._run, self._pass)

    def committed(self, counted: Counted) -> None:
        """Every slice up to there is committed."""
        self._settled = counted

    def rewind(self) -> None:
        """The slices since then come again."""
        self._run, self._pass = self._settled

    def reason(self) -> str:
        """Why it tripped, with the commonest of the errors that made it."""
        errors = [f"{text} ({n} times)" for text, n in Counter(self._errors).most_common(3)]
        return (
            f"{self._max:,} or more records in a row failed, the last of them not yet dead "
            f"letters; most often of the last {self._max:,}: {'; '.join(errors)}"
        )
