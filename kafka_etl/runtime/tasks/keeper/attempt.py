"""One attempt as the keeper sees it, and the rule who was first: the result or a signal.

What the keeper has received before it sends the first signal is the attempt's last word. After a
signal the attempt has ended for the reason of the signal, whatever its runner says: a program that
a signal has killed may leave half a file, and an operator that ignores its exit status would call
that a result.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kafka_etl.runtime.tasks.exchange import Answer, Made
from kafka_etl.runtime.tasks.keeper import sayings
from kafka_etl.runtime.tasks.keeper.sayings import LastWord
from kafka_etl.tasks.head import Failure
from kafka_etl.tasks.keeping import Grant, Said
from kafka_etl.tasks.words import Ended, Result, Why

_KILL_AGAIN: Final = 1.0
"""Seconds between two SIGKILL: the kernel may take a while for a large process."""


class Attempt:
    """An attempt that a runner was given.

    Args:
        grant: The grant.
        now: The keeper's time, in seconds.
        timeout: Seconds that the attempt may take; None: no limit.

    Attributes:
        started: The word `started`; None: the operator has not begun.
        progress: The latest word `progress`.
        timeout_at: When the attempt is out of time; None: never, or the attempt is decided.
        kill_at: When all that belongs to the attempt gets SIGKILL, or gets it once more; None: no
            signal was sent.
    """

    def __init__(self, grant: Grant, now: float, timeout: float | None) -> None:
        self.grant = grant
        self.started: Said | None = None
        self.progress: Said | None = None
        self.timeout_at = None if timeout is None else now + timeout
        self.kill_at: float | None = None
        self._given_at = now
        self._reports = 0
        self._last: LastWord | None = None

    @property
    def is_decided(self) -> bool:
        """Whether nothing can change the last word any more."""
        return self._last is not None

    @property
    def has_result(self) -> bool:
        """Whether the last word is a result."""
        return self._last is not None and isinstance(self._last.word, Result)

    @property
    def was_signalled(self) -> bool:
        """Whether a signal was sent."""
        return self.kill_at is not None

    def begins(self, at_ms: int, pid: int, host: str) -> Said:
        """The operator begins; returns the word to say."""
        self.started = sayings.started(self.grant, at_ms, pid, host)
        return self.started

    def reports(self, fraction: float, text: str) -> Said | None:
        """The operator reports progress; returns the word to say, None after a decision."""
        if self.is_decided:
            return None
        self._reports += 1
        self.progress = sayings.progress(self.grant, self._reports, fraction, text)
        return self.progress

    def answers(self, answer: Answer) -> None:
        """The runner answers."""
        if isinstance(answer, Made):
            word = sayings.result(self.grant, answer.rows, answer.preview, answer.seconds)
        else:
            word = sayings.ended(
                self.grant, answer.why, answer.failure, answer.retry_after, answer.seconds
            )
        self._decide(word)

    def dies(self, failure: Failure, now: float) -> None:
        """The runner has died before it answered."""
        self._decide(sayings.ended(self.grant, "died", failure, seconds=now - self._given_at))

    def is_signalled(
        self, why: Why, now: float, grace: float, failure: Failure | None = None
    ) -> bool:
        """A signal is about to be sent; returns whether it is the first, and comes in time.

        Args:
            why: The reason of the signal.
            now: The keeper's time.
            grace: Seconds until SIGKILL.
            failure: What the word says about the reason.
        """
        if self.is_decided:
            return False
        self._decide(sayings.ended(self.grant, why, failure, seconds=now - self._given_at))
        self.kill_at = now + grace
        return True

    def outlives(self, now: float) -> bool:
        """Whether the attempt gets SIGKILL now; the next one follows after a while."""
        if self.kill_at is None or now < self.kill_at:
            return False
        self.kill_at = now + _KILL_AGAIN
        return True

    def last_word(self, stderr: str) -> Said:
        """The last word, once nothing of the attempt runs any more.

        Args:
            stderr: The last of the attempt's standard error, for reasons that tell nothing else.
        """
        last = self._last or sayings.ended(self.grant, "interrupted")
        word = last.word
        if isinstance(word, Ended) and word.error is not None and word.why in {"timeout", "died"}:
            error = msgspec.structs.replace(word.error, stderr=stderr)
            last = LastWord(msgspec.structs.replace(word, error=error))
        return sayings.last(self.grant, last)

    def _decide(self, word: LastWord) -> None:
        if self._last is None:
            self._last = word
            self.timeout_at = None
