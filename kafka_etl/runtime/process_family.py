"""Process families: a process and all its descendants, found and killed when the process ends.

A process group does not hold all descendants: a process that starts a session of its own leaves the
group, and the processes of isolated operators have groups of their own. All descendants inherit an
environment variable, which `/proc` shows. So a descendant is found at any depth, also after its
parent has died.
"""

from __future__ import annotations

import os
import secrets
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

VARIABLE: Final = "KAFKA_ETL_FAMILY"
_PROCESSES: Final = Path("/proc")
_ROUNDS: Final = 10
"""The most rounds of killing: a process may start another while its family is being killed."""


def found(folder: Path) -> None:
    """Make this process the first of the family that a folder identifies; called by the daemon.

    The caller must hold the lock of the folder. Processes that belong to the family already were
    left behind by a daemon that was killed: this call kills them.
    """
    identity = folder.stat()
    family = f"{identity.st_dev:x}-{identity.st_ino:x}"
    os.environ[VARIABLE] = family
    kill_family(family)


def member() -> str:
    """Make a family for a process to be started: a new value of VARIABLE, below our own."""
    return f"{os.environ.get(VARIABLE, '')}/{secrets.token_hex(8)}"


def kill(leader: int, family: str) -> None:
    """Kill the process group of `leader`, and all processes of its family."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    kill_family(family)


def kill_family(family: str) -> None:
    """Kill all processes whose environment names this family, or a family below it."""
    for _ in range(_ROUNDS):
        found = members(family)
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def members(family: str) -> list[int]:
    """Return the ids of the family's running processes, except our own; empty without `/proc`."""
    wanted = f"{VARIABLE}={family}".encode()
    return [pid for pid in _processes() if pid != os.getpid() and _belongs(pid, wanted)]


def _processes() -> list[int]:
    try:
        return [int(path.name) for path in _PROCESSES.iterdir() if path.name.isdecimal()]
    except OSError:
        return []


def _belongs(pid: int, wanted: bytes) -> bool:
    try:
        environment = (_PROCESSES / str(pid) / "environ").read_bytes()  # empty for a zombie
    except OSError:
        return False
    for variable in environment.split(b"\0"):
        if variable == wanted or variable.startswith(wanted + b"/"):
            return True
    return False
