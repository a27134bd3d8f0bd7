"""The kinds of failures that a pipeline has had, by which a new kind is told from an old one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from kafka_etl.dead_letters import Cause
from kafka_etl.envelope import fingerprint
from kafka_etl.invocation import DeadLetter

_MOST: Final = 10_000
"""Kinds that are remembered; a pipeline with more of them has no kinds to speak of."""


def _is_off() -> bool:
    return False


def _tells_nobody(_letter: DeadLetter) -> None:
    """No hook wants to know."""


class Kinds:
    """The fingerprints of a pipeline's dead letters.

    A kind is known once a dead letter of the kind is committed. Beyond 10,000 kinds, no kind is
    new.

    Args:
        watching: Tells whether a new kind pauses the pipeline at present.
        tell: Called with the first dead letter of each new kind, after its commit.
    """

    def __init__(
        self,
        watching: Callable[[], bool] = _is_off,
        tell: Callable[[DeadLetter], None] = _tells_nobody,
    ) -> None:
        self._watching = watching
        self._tell = tell
        self._known: set[str] = set()
        self._accepted: set[str] = set()

    def learn(self, fingerprints: Iterable[str]) -> None:
        """Take in the kinds of earlier dead letters."""
        self._known.update(fingerprints)

    def accept(self, causes: Iterable[Cause]) -> None:
        """Let these kinds pass from now on: a user has resumed the pipeline."""
        self._accepted.update(cause.fingerprint for cause in causes)

    def unseen(self, causes: Iterable[Cause]) -> list[Cause]:
        """The causes of new kinds, where a new kind pauses the pipeline; else none."""
        if not self._watching() or len(self._known) >= _MOST:
            return []
        return [
            cause
            for cause in causes
            if cause.fingerprint not in self._known and cause.fingerprint not in self._accepted
        ]

    def committed(self, letter: DeadLetter) -> None:
        """Take in a dead letter that has been committed."""
        kind = fingerprint(letter)
        if kind not in self._known and len(self._known) < _MOST:
            self._known.add(kind)
            self._tell(letter)
