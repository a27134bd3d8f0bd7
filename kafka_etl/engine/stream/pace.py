"""How many records to gather for a batch, and how many of them make a slice."""

from __future__ import annotations

from typing import Final

_GROWTH: Final = 4
"""A slice is at most this many times larger than the last: its speed is not measured yet."""


class Pace:
    """Sizes of batches and slices, from measured speed and from the success of commits.

    The limit of a batch is halved when a commit fails, and doubled when a commit succeeds. This is
    the answer to slow operators, refused records, rebalances and batches that are too large. The
    slice size aims at `slice_seconds` of work, so that the source's client is served in time.

    Args:
        max_records: Largest limit of a batch, in records.
        slice_seconds: Seconds of work in a slice.
        smallest: Smallest slice, in records: as many as the operators work on at once.

    Attributes:
        limit: Number of records to gather for the next batch.
    """

    def __init__(self, max_records: int, slice_seconds: float, smallest: int = 1) -> None:
        self._max_records = max_records
        self._slice_seconds = slice_seconds
        self._smallest = smallest
        self._slice = smallest
        self.limit = max_records

    @property
    def slice_size(self) -> int:
        """Number of records in the next slice."""
        return self._slice

    @property
    def reduced(self) -> bool:
        """Whether `limit` is below its maximum, because commits have failed lately."""
        return self.limit < self._max_records

    def ran(self, records: int, seconds: float) -> None:
        """Adapt the slice size: a slice of `records` records took `seconds` seconds."""
        fitting = int(records * self._slice_seconds / max(seconds, 1e-6))
        # A slice cut short by the end of its batch proves little: only a full slice may be followed
        # by a larger one.
        largest = self._slice * _GROWTH if records >= self._slice else self._slice
        self._slice = max(self._smallest, min(fitting, largest))

    def failed(self, records: int) -> None:
        """Set the limit to half of the records of a failed commit; with 0 records, do nothing."""
        if records:
            self.limit = max(1, min(self.limit, records) // 2)

    def succeeded(self) -> None:
        """Double the limit, up to its maximum: a commit succeeded."""
        self.limit = min(self._max_records, self.limit * 2)
