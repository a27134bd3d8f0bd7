"""Orphans: processes that an attempt has left behind, which are now the keeper's own children.

The keeper is the subreaper of its descendants. When a runner is dead, whatever it has started is a
child of the keeper, or below one, whatever session and environment it has given itself.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

from kafka_etl.log import get_logger

_PROCESSES: Final = Path("/proc")
_ROUNDS: Final = 10
"""Rounds of killing in one sweep: a process may start another while it is being killed."""
_PATIENCE: Final = 30.0
"""Seconds after which nobody waits any more for the death of an orphan that was killed."""
_log = get_logger("keeper")


class Orphans:
    """Kills orphans."""

    def __init__(self) -> None:
        self._killed_at: dict[int, float] = {}

    def sweep(self, known: Collection[int]) -> bool:
        """Kill all our children that are not known; return whether none of them lives any more."""
        for _ in range(_ROUNDS):
            living = children_of(os.getpid()).difference(known)
            self._killed_at = {p: at for p, at in self._killed_at.items() if p in living}
            new = living.difference(self._killed_at)
            for pid in new:
                self._killed_at[pid] = monotonic()
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not new:
                break
        return not any(self._is_waited_for(pid) for pid in list(self._killed_at))

    def _is_waited_for(self, pid: int) -> bool:
        at = self._killed_at[pid]
        if monotonic() - at < _PATIENCE:
            return True
        if at != float("-inf"):
            self._killed_at[pid] = float("-inf")
            _log.error("a process that an attempt has left behind cannot be killed", pid=pid)
        return False


def children_of(parent: int) -> set[int]:
    """The ids of a process's children that have not ended; empty without `/proc`."""
    try:
        found = [int(path.name) for path in _PROCESSES.iterdir() if path.name.isdecimal()]
    except OSError:
        return set()
    return {pid for pid in found if _parent_of(pid) == parent}


def _parent_of(pid: int) -> int | None:
    """The id of a living process's parent."""
    try:
        told = (_PROCESSES / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    state, parent, *_ = told.rpartition(b")")[2].split(None, 2)  # a name may hold anything
    return None if state in {b"Z", b"X"} else int(parent)
