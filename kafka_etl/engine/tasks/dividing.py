"""Commits that a target refuses as a whole, because of one task that nobody names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from kafka_etl.contracts import Aborted, Refusal

T = TypeVar("T")


def commit_divided(
    parts: Sequence[T],
    commit: Callable[[Sequence[T]], None],
    refused: Callable[[T, Refusal], None],
) -> None:
    """Commit in halves what was refused as a whole, down to the parts that are refused alone.

    Args:
        parts: What was refused together.
        commit: Commits some of the parts.
        refused: Called with a part that is refused alone, and the refusal.

    Raises: as `commit`, but for refusals.
    """
    waiting = _halves(parts)
    while waiting:
        some = waiting.pop()
        try:
            commit(some)
        except Aborted as aborted:
            if aborted.refusal is None:
                raise
            if len(some) == 1:
                refused(some[0], aborted.refusal)
            else:
                waiting += _halves(some)


def _halves(parts: Sequence[T]) -> list[Sequence[T]]:
    """The halves that are not empty, the first one last."""
    middle = len(parts) // 2
    return [half for half in (parts[middle:], parts[:middle]) if half]
