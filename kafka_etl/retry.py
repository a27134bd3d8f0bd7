"""When to try a record again, and how long to wait: pure arithmetic, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from kafka_etl.errors import Permanent, Retry

NEVER: Final[tuple[type[BaseException], ...]] = (
    Permanent,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    NameError,
    NotImplementedError,
    RecursionError,
)
"""Errors that say something about the record or the code: the next attempt would fail alike."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before attempt 2, 3, … : `initial * factor ** n`, at most `max`.

    With `jitter: full` a random part of that, so that workers do not come back in step.
    """

    initial: float = 0.2
    factor: float = 2.0
    max: float = 30.0
    jitter: Literal["full", "none"] = "full"

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """The wait after the `failures`-th failure in a row (from 1); `random` gives 0 to 1."""
        exponent = min(failures - 1, 64)  # beyond it the power overflows, and max holds anyway
        wait = min(self.max, self.initial * self.factor**exponent)
        return wait * random() if self.jitter == "full" else wait


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which errors are tried again, how often, and after how long.

    Attributes:
        max_attempts: Attempts in all, the first included.
        never: Classes not tried again; `Retry` is always tried again.
        only: When given, nothing but these classes (and `Retry`) is tried again. Of `only` and
            `never` the class nearest to the error's own decides, and `only` where both name it.
    """

    max_attempts: int = 4
    backoff: Backoff = field(default_factory=Backoff)
    never: tuple[type[BaseException], ...] = NEVER
    only: tuple[type[BaseException], ...] | None = None

    def wait_before_next(
        self, error: BaseException, attempt: int, random: Callable[[], float]
    ) -> float | None:
        """Seconds to wait after attempt number `attempt` failed with `error`; None: it is final."""
        if attempt >= self.max_attempts or not self._retryable(error):
            return None
        after = getattr(error, "after", None) if isinstance(error, Retry) else None
        if isinstance(after, int | float):  # a subclass may have anything there, or nothing
            return after
        return self.backoff.delay(attempt, random)

    def _retryable(self, error: BaseException) -> bool:
        if isinstance(error, Retry):
            return True
        if not isinstance(error, Exception):
            return False  # a SystemExit raised by an operator is a bug, not a passing fault
        if self.only is None:
            return not isinstance(error, self.never)
        named = (cls for cls in type(error).__mro__ if cls in (*self.only, *self.never))
        return next(named, None) in self.only
