"""The trouble of a pipeline: the obstacle that a process waits for, shown in the status."""

from __future__ import annotations

from datetime import UTC, datetime

from kafka_etl.contracts import Source
from kafka_etl.log import Logger


class Trouble:
    """Keeps one trouble at a time; a trouble whose reason changes keeps its start time.

    Attributes:
        said: Text of the trouble, with its start time; None: no trouble.

    Args:
        log: Logger for the start and the end of a trouble; None: neither is logged.
    """

    def __init__(self, log: Logger | None = None) -> None:
        self._log = log
        self._since: str | None = None
        self.said: str | None = None

    def note(self, reason: str | None) -> None:
        """Take in the present obstacle in words; None ends the trouble."""
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
        """Take in the source's trouble, and end a trouble that no commit can end.

        Normally the next commit ends a trouble. A pipeline that is paused, or has nothing left to
        read, makes no commit: then a source without trouble ends the trouble.
        """
        if source.trouble is not None:
            self.note(source.trouble)
        elif self.said is not None and (paused or _has_caught_up(source)):
            self.note(None)


def _has_caught_up(source: Source) -> bool:
    return source.joined and all(at.lag == 0 for at in source.positions().values())
