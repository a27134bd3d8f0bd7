"""The clock of a trial: present time, waits and chance; and one for tests, which never sleeps."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

_START_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""


class Clock(Protocol):
    """The time and the chance that retries depend on."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        ...

    def wait(self, seconds: float, reason: str) -> None:
        """Wait before the next attempt."""
        ...

    def random(self) -> float:
        """Return the share of a wait that its jitter leaves, from 0 to 1."""
        ...


class Waited(NamedTuple):
    """One wait of a `FakeClock`."""

    seconds: float
    reason: str


class FakeClock:
    """A clock that stands still until somebody waits, and then jumps: no test sleeps.

    Jitter takes nothing away, so that the waits are the same in every run.

    Args:
        start_ms: Milliseconds since the epoch at the start; by default 2026-01-01T00:00:00Z.

    Attributes:
        waits: The waits so far, such as those before further attempts.
    """

    def __init__(self, start_ms: int = _START_MS) -> None:
        self.waits: list[Waited] = []
        self._now_ms = start_ms

    def now_ms(self) -> int:
        return self._now_ms

    def wait(self, seconds: float, reason: str) -> None:
        self.waits.append(Waited(seconds, reason))
        self._now_ms += round(seconds * 1000)

    def random(self) -> float:
        return 1.0
