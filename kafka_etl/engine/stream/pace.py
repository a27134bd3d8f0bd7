"""How much to gather, and how much of it to run in one go."""

from __future__ import annotations

from typing import Final

_GROWTH: Final = 4
"""A slice is at most this much larger than the one before it: speed has to be proven first."""


class Pace:
    """Sizes that follow what was measured.

    `limit`, the records to gather, is halved whenever a commit fails and doubled when one
    succeeds: the one answer to slow operators, refused records, rebalances and oversize.
    `slice_size` keeps a slice near `slice_seconds`, so that the client is served in time, but no
    smaller than `smallest`: as many records as are run at once.
    """

    def __init__(self, max_records: int, slice_seconds: float, smallest: int = 1) -> None:
        self._max_records = max_records
        self._slice_seconds = slice_seconds
        self._smallest = smallest
        self._slice = smallest
        self.limit = max_records

    @property
    def slice_size(self) -> int:
        return self._slice

    @property
    def reduced(self) -> bool:
        """Whether commits have failed lately."""
        return self.limit < self._max_records

    def ran(self, records: int, seconds: float) -> None:
        """A slice of `records` took `seconds`."""
        fitting = int(records * self._slice_seconds / max(seconds, 1e-6))
        # A slice cut short by the end of its batch says little; only a full one makes it grow.
        largest = self._slice * _GROWTH if records >= self._slice else self._slice
        self._slice = max(self._smallest, min(fitting, largest))

    def failed(self, records: int) -> None:
        """A commit of `records` came to nothing. One without any says nothing about sizes."""
        if records:
            self.limit = max(1, min(self.limit, records) // 2)

    def succeeded(self) -> None:
        self.limit = min(self._max_records, self.limit * 2)
