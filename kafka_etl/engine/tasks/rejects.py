"""Records of the inbox that are no words, and words at which the table of states fails.

Each goes to the destination of failures as it is, and the inbox's offset moves on. Many in a row
are nobody's mistake: the pipeline stops.
"""

from __future__ import annotations

from typing import Final

from kafka_etl.errors import WordsUnreadable
from kafka_etl.invocation import Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters
from kafka_etl.record import SourceRecord, offset_of, partition_of

_MOST_IN_A_ROW: Final = 100


class Rejects:
    """The rejected records since the last commit.

    Args:
        counters: Counts them.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._in_a_row = 0
        self._last: DeadLetter | None = None
        self._log = get_logger("owner")
        self.letters: list[DeadLetter] = []

    def add(self, record: SourceRecord, error: ErrorInfo, at_ms: int) -> None:
        """Reject a record."""
        place = f"{partition_of(record)}@{offset_of(record)}"
        self._counters.add("words_bad")
        self._log.warning("not a word", at=place, reason=f"{error.type}: {error.message}")
        self._in_a_row += 1
        self._last = DeadLetter(record, Failure(0, Condition.INVALID, error), place, at_ms)
        self.letters.append(self._last)

    def good(self) -> None:
        """There was a word in between."""
        if self._in_a_row < _MOST_IN_A_ROW:
            self._in_a_row = 0

    def committed(self) -> None:
        """The rejected records are dead letters by now.

        Raises:
            WordsUnreadable: There were too many in a row.
        """
        self.letters.clear()
        if self._in_a_row >= _MOST_IN_A_ROW and self._last is not None:
            found, self._in_a_row = self._in_a_row, 0
            error = self._last.failure.error
            raise WordsUnreadable(
                f"{found:,} records in a row are no words, the last one at "
                f"{self._last.invocation_id}: {error.message}"
            )

    def void(self) -> None:
        """Nothing was committed: the records are read again."""
        self.letters.clear()
        self._in_a_row = 0
