"""What is in the way of a pipeline, and since when: for people who look at its status."""

from __future__ import annotations

from datetime import UTC, datetime


class Trouble:
    """One trouble at a time; another reason does not make it a new one.

    Attributes:
        said: In words, with the time it began; None: nothing is in the way.
    """

    def __init__(self) -> None:
        self._since: str | None = None
        self.said: str | None = None

    def note(self, reason: str | None) -> bool:
        """Take in what is in the way now; returns whether it has begun or ended with that."""
        before = self.said
        if reason is None:
            self._since = self.said = None
        else:
            self._since = self._since or f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
            self.said = f"{reason} (since {self._since})"
        return (before is None) != (self.said is None)
