"""What processes use, as `/proc` tells it: a process together with all its descendants."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from kafka_etl.tasks.limits import Usage

_PROCESSES: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PARENT, _TIMES, _RSS = 1, slice(11, 15), 21
"""Places of numbers in `/proc/PID/stat`, behind the name; times also of children reaped."""


class _Process(NamedTuple):
    parent: int
    rss: int
    cpu: float


class Processes:
    """All processes, as they are at one moment; none without `/proc`."""

    def __init__(self) -> None:
        self._all: dict[int, _Process] = {}
        self._children: dict[int, list[int]] = {}
        for pid in _ids():
            process = _read(pid)
            if process is not None:
                self._all[pid] = process
                self._children.setdefault(process.parent, []).append(pid)

    def usage(self, leader: int, memory_limit: int | None) -> Usage:
        """What a process uses with all its descendants.

        Shared memory is shared out among its users, but only where that may make a difference: the
        kernel takes its time for it. RSS, which counts shared memory for each user, is never less.

        Args:
            leader: Id of the process.
            memory_limit: Bytes up to which memory need not be known exactly; None: it need not be.
        """
        tree = self._tree(leader)
        memory = sum(self._all[pid].rss for pid in tree)
        if memory_limit is not None and memory > memory_limit:
            memory = sum(_pss(pid, self._all[pid].rss) for pid in tree)
        return Usage(memory, sum(self._all[pid].cpu for pid in tree))

    def _tree(self, leader: int) -> Iterable[int]:
        found = [leader] if leader in self._all else []
        for pid in found:  # which grows meanwhile
            found += self._children.get(pid, ())
        return found


def _ids() -> list[int]:
    try:
        return [int(path.name) for path in _PROCESSES.iterdir() if path.name.isdecimal()]
    except OSError:
        return []


def _read(pid: int) -> _Process | None:
    """A process, which may be a zombie; None: it is gone."""
    try:
        told = (_PROCESSES / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = told.rpartition(b")")[2].split()  # a name may hold anything
    cpu = sum(map(int, fields[_TIMES])) / _TICKS
    return _Process(int(fields[_PARENT]), int(fields[_RSS]) * _PAGE, cpu)


def _pss(pid: int, otherwise: int) -> int:
    """Bytes of memory, with the process's share of what it shares."""
    try:
        told = (_PROCESSES / str(pid) / "smaps_rollup").read_bytes()
    except OSError:  # it is another user's, or gone
        return otherwise
    for line in told.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return otherwise
