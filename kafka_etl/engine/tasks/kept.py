"""What is made of records of the inbox, kept up to a size, else read from the inbox again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from kafka_etl.record import Partition, SourceRecord, offset_of

_AHEAD: Final = 200
_AHEAD_BYTES: Final = 16 * 1024 * 1024
"""Bytes beyond which nothing is read ahead: it would take the place of what is wanted sooner."""
_MOST_BYTES: Final = 64 * 1024 * 1024

T = TypeVar("T")
Read = Callable[[Partition, int, int], Iterable[SourceRecord]]
"""Reads the records of a partition of the inbox from one offset up to another."""


class Kept(Generic[T]):
    """Values by the places of their records; those that came longest ago are forgotten first.

    Args:
        read: Reads records of the inbox.
        make: Makes the value of a record; None: the record has none.
    """

    def __init__(self, read: Read, make: Callable[[SourceRecord], T | None]) -> None:
        self._read = read
        self._make = make
        self._kept: OrderedDict[tuple[Partition, int], tuple[T, int]] = OrderedDict()
        self._size = 0

    def keep(self, tp: Partition, at: int, value: T, size: int) -> None:
        """Keep a value, whose record has so many bytes."""
        self.drop(tp, at)
        self._kept[tp, at] = value, size
        self._size += size
        while self._size > _MOST_BYTES:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._size -= oldest

    def drop(self, tp: Partition, at: int) -> None:
        """The value is not needed soon."""
        known = self._kept.pop((tp, at), None)
        if known is not None:
            self._size -= known[1]

    def forget(self, tp: Partition) -> None:
        """The partition has left."""
        for partition, at in list(self._kept):
            if partition == tp:
                self.drop(tp, at)

    def get(self, tp: Partition, at: int) -> T | None:
        """The value of a record; None: the record is gone, or has none.

        What is not kept is read together with some records behind it, which are wanted next. There
        is nothing at -1.
        """
        if at < 0:
            return None
        if (tp, at) in self._kept:
            return self._kept[tp, at][0]
        wanted: T | None = None
        read = 0
        for record in self._read(tp, at, at + _AHEAD):
            value, offset, size = self._make(record), offset_of(record), len(record.value() or b"")
            if value is not None:
                self.keep(tp, offset, value, size)
            if offset == at:
                wanted = value
            read += size
            if read >= _AHEAD_BYTES:
                break
        return wanted
