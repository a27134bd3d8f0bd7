"""What the metrics say of tasks, read off the changes that an owner has committed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from kafka_etl.engine.tasks.book import Book, HeadChange
from kafka_etl.metrics import Counters
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.states import OPEN

_EVERY_MS: Final = 500


class Measures:
    """Counts what happens to tasks, and says how many there are.

    Args:
        counters: The worker's counters.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._looked_at = -_EVERY_MS

    def count(self, change: HeadChange) -> None:
        """Count a change that is durable."""
        before, after = change.before, change.after
        if after is None:
            return
        self._count_start(before, after)
        self._count_attempts(0 if before is None else before.attempts.total, after)
        if before is not None and after.duplicates > before.duplicates:
            self._counters.add("task_duplicates", after.duplicates - before.duplicates)
        if after.stop is not None and (before is None or before.stop is None):
            self._counters.add("task_stops")

    def look(self, books: Collection[Book], now_ms: int) -> None:
        """Say how many open tasks there are, twice a second at most."""
        if 0 <= now_ms - self._looked_at < _EVERY_MS:
            return
        self._looked_at = now_ms
        for state in OPEN:
            count = sum(book.counts.get(state, 0) for book in books)
            self._counters.set("tasks", count, state.value)
        waiting = [head for book in books if (head := book.next_waiting()) is not None]
        since = min((_accepted(head) for head in waiting), default=now_ms)
        self._counters.set("task_oldest_enqueued_seconds", max(0, now_ms - since) / 1000)

    def _count_start(self, before: Head | None, after: Head) -> None:
        """The wait of a task ends with its first grant."""
        is_granted = after.granted_ms and not (before is not None and before.granted_ms)
        if is_granted and after.generation == 1 and not after.attempts.total:
            waited = max(0, after.granted_ms - _accepted(after))
            self._counters.observe("task_wait_seconds", waited / 1000)

    def _count_attempts(self, known: int, after: Head) -> None:
        ended = after.attempts.total - known
        for attempt in after.attempts.last[-ended:] if ended > 0 else ():
            if attempt.number <= known:
                continue
            self._counters.add("task_attempts", 1, attempt.why)
            if attempt.started_ms:
                took = max(0, attempt.ended_ms - attempt.started_ms)
                self._counters.observe("task_run_seconds", took / 1000)


def _accepted(head: Head) -> int:
    return head.submit.at_ms if head.submit is not None else head.granted_ms
