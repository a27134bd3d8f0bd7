"""The call in hand of an operator's process, in shared memory that outlives the process."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

_STATE: Final = struct.Struct("@QQ")  # since, number
_NUMBER: Final = struct.Struct("@Q")
_NUMBER_AT: Final = 8
_SIZE: Final = 64


class CallClock:
    """The call clock: an operator's process writes each call, and the worker reads the clock.

    Args:
        file: The descriptor of the shared file.
    """

    def __init__(self, file: int) -> None:
        self._map = mmap.mmap(file, _SIZE)

    def begin(self, number: int, now: int) -> None:
        """A call begins, for record `number` of those the process was given, from 1."""
        self._write(0, now)  # first: with it the old call looks young, which harms nobody
        self._write(_NUMBER_AT, number)

    def rest(self) -> None:
        """Nothing is in hand."""
        self._write(_NUMBER_AT, 0)  # and the time stays: see `read`

    def read(self) -> tuple[int, int]:
        """(number of the call in hand, 0 for none; since when, in nanoseconds).

        The process may write at the same time: a time counts only if the number before and after
        the time is the same, or a new call would look as old as the call before.
        """
        while True:
            before = _NUMBER.unpack_from(self._map, _NUMBER_AT)
            since: int
            since, number = _STATE.unpack_from(self._map)
            if before == (number,):
                return number, since

    def _write(self, at: int, word: int) -> None:
        """Write a word at once; `pack_into` would zero the bytes first: a time long ago."""
        self._map[at : at + _NUMBER.size] = _NUMBER.pack(word)


class SharedCallClock(CallClock):
    """One that is made here, in memory: there may be no folder to write to.

    Attributes:
        file: The descriptor to give to the process.
    """

    def __init__(self) -> None:
        self.file = os.memfd_create("hand")
        os.ftruncate(self.file, _SIZE)
        super().__init__(self.file)

    def close(self) -> None:
        self._map.close()
        os.close(self.file)
