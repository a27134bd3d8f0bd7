"""What a process has started, and what those have started: found and killed when it ends.

A process group is not enough: what has made a session of its own has left it, and the processes of
isolated operators are in groups of their own. All of them inherit a variable of the environment,
which the system shows; so members are found however deep they are, and whoever their parent is now.
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
"""A process may start another one while the others are being killed."""


def found(folder: Path) -> None:
    """Make this process the first of the family of a folder, which no other process may be then.

    Who is of that family already was left behind by a predecessor that was killed, and is killed.
    """
    identity = folder.stat()
    family = f"{identity.st_dev:x}-{identity.st_ino:x}"
    os.environ[VARIABLE] = family
    kill_family(family)


def member() -> str:
    """A value for VARIABLE of a process that is to be started here, below our own."""
    return f"{os.environ.get(VARIABLE, '')}/{secrets.token_hex(8)}"


def kill(leader: int, family: str) -> None:
    """Kill the group that this process leads, and all who have this family in their environment."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    kill_family(family)


def kill_family(family: str) -> None:
    """Kill all who have this family in their environment, or one below."""
    for _ in range(_ROUNDS):
        found = members(family)
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def members(family: str) -> list[int]:
    """Processes of this family that run, ourselves left out; without /proc none is found."""
    wanted = f"{VARIABLE}={family}".encode()
    return [pid for pid in _processes() if pid != os.getpid() and _belongs(pid, wanted)]


def _processes() -> list[int]:
    try:
        return [int(path.name) for path in _PROCESSES.iterdir() if path.name.isdecimal()]
    except OSError:
        return []


def _belongs(pid: int, wanted: bytes) -> bool:
    try:
        environment = (_PROCESSES / str(pid) / "environ").read_bytes()  # empty once it is dead
    except OSError:
        return False
    for variable in environment.split(b"\0"):
        if variable == wanted or variable.startswith(wanted + b"/"):
            return True
    return False
