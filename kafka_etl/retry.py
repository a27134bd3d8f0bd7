"""The rules of retries: which errors are retried, and after which wait; no clock is read here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

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
"""Errors caused by the record or the code: the next attempt would fail in the same way."""


LONGEST_WAIT: Final = 300.0
"""Limit of `Retry(after=…)` in seconds: the other records of the slice wait as well."""
_A_YEAR: Final = 31_536_000.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before attempt 2, 3, … : `initial * factor ** n`, at most `max`.

    With `jitter: full` the wait is a random part of this value, so that workers do not retry in
    lockstep.
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
    """The policy for retries: which errors are retried, how often, and after how long.

    Attributes:
        max_attempts: Attempts in all, the first included.
        never: Classes not tried again; `Retry` is always tried again.
        only: The only classes, besides `Retry`, that are tried again; None: every class that is
            not in `never`. If the error's class has bases in both `only` and `never`, the base
            that comes first in its `__mro__` decides; a class in both is tried again.
    """

    max_attempts: int = 4
    backoff: Backoff = field(default_factory=Backoff)
    never: tuple[type[BaseException], ...] = NEVER
    only: tuple[type[BaseException], ...] | None = None

    def wait_before_next(
        self, error: BaseException, attempt: int, random: Callable[[], float]
    ) -> float | None:
        """Seconds to wait after attempt `attempt` failed with `error`; None: the error is final."""
        if attempt >= self.max_attempts or not self._retryable(error):
            return None
        after = wanted_wait(error)
        if after is None:
            return self.backoff.delay(attempt, random)
        return min(after, LONGEST_WAIT)

    def _retryable(self, error: BaseException) -> bool:
        cls = type(error)  # `__class__`, which `isinstance` asks, may be a property of the user's
        if issubclass(cls, Retry):
            return True
        if not issubclass(cls, Exception):
            return False  # a SystemExit raised by an operator is a bug, not a passing fault
        if self.only is None:
            return not issubclass(cls, self.never)
        named = (base for base in cls.__mro__ if base in (*self.only, *self.never))
        return next(named, None) in self.only


def wanted_wait(error: BaseException) -> float | None:
    """Seconds that a `Retry` asks for, at most a year.

    None: the error is another one, or asks for nothing that makes sense.
    """
    if not issubclass(type(error), Retry):
        return None
    try:
        after: Any = getattr(error, "after", None)
    except BaseException:  # noqa: BLE001 - a subclass may have any property there
        return None
    if type(after) not in {int, float} or not after >= 0:  # NaN is neither
        return None
    return float(min(after, _A_YEAR))
