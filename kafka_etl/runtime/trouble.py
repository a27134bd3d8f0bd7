"""What is in the way of a pipeline, and since when: for people who look at its status."""

from __future__ import annotations

from datetime import UTC, datetime

from kafka_etl.contracts import Source
from kafka_etl.log import Logger


class Trouble:
    """One trouble at a time; another reason does not make it a new one.

    Attributes:
        said: In words, with the time it began; None: nothing is in the way.

    Args:
        log: Where it is said when one begins or ends; None: nowhere.
    """

    def __init__(self, log: Logger | None = None) -> None:
        self._log = log
        self._since: str | None = None
        self.said: str | None = None

    def note(self, reason: str | None) -> None:
        """Take in what is in the way now."""
        if reason is None:
            if self.said is not None and self._log is not None:
                self._log.info("out of trouble")
            self._since = self.said = None
            return
        if self.said is None and self._log is not None:
            self._log.warning("in trouble", reason=reason)
        self._since = self._since or f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
        self.said = f"{reason} (since {self._since})"

    def look(self, source: Source, *, paused: bool) -> None:
        """Take in what the source says.

        A commit says that all is well again. Where none is to come, because the pipeline is paused
        or has nothing left to read, a source that is well says it.
        """
        if source.trouble is not None:
            self.note(source.trouble)
        elif self.said is not None and (paused or _has_caught_up(source)):
            self.note(None)


def _has_caught_up(source: Source) -> bool:
    return source.joined and all(at.lag == 0 for at in source.positions().values())
