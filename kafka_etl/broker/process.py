"""Processes known by pid. Run as a script this file is the guard of one of them.

Nothing but the standard library here: a guard must be up in milliseconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_POLL_S: Final = 0.02
_GUARD_POLL_S: Final = 0.25
_STILL_S: Final = 5.0


class Process:
    """A process, told from a later one with the same pid by a text in its command line.

    Attributes:
        exit_code: How it ended, negative for a signal; None while it runs or if nobody can tell.
    """

    def __init__(self, pid: int, marker: str, *, child: bool = False) -> None:
        self.pid = pid
        self.exit_code: int | None = None
        self._marker = marker
        self._child = child
        self._gone = False

    @property
    def running(self) -> bool:
        self._gone = self._gone or not self._seen()
        return not self._gone

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone and the pid may be a stranger's."""
        if self.running:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                self._gone = True

    def wait(self, timeout_s: float, or_until: Callable[[], bool] = lambda: False) -> bool:
        """Whether it ended, within the time and before something else came true."""
        deadline = time.monotonic() + timeout_s
        while self.running:
            if time.monotonic() > deadline or or_until():
                return False
            time.sleep(_POLL_S)
        return True

    def terminate(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a suspended one would not even notice

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait(timeout_s=10)

    def suspend(self) -> None:
        """Have it stand still; a busy one answers for a moment longer, until all threads do."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + _STILL_S
        while self.running and not _stands_still(self.pid) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _seen(self) -> bool:
        if self._child:
            try:
                # Nobody else can have the pid of a child that was not waited for.
                ended, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self._child = False  # a fork of the parent asks, or somebody waited for all
            else:
                if ended:
                    self.exit_code = os.waitstatus_to_exitcode(status)
                return not ended
        return self._marker in _command_line(self.pid)


def spawn(command: list[str], marker: str, environment: Mapping[str, str], log: Path) -> Process:
    """Start a program in a session of its own, so that a terminal's Ctrl-C does not reach it.

    Unlike `subprocess.Popen` this leaves no object that must be waited for.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),  # a caller's blocked SIGTERM must not become the program's
        setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGTERM),
    )
    return Process(pid, marker, child=True)


def guard(process: Process, marker: str) -> Process:
    """Start a guard, which kills the process when the program that runs this line is gone.

    Linux could do that by itself, but counts from the end of the thread that started a process.
    """
    command = [sys.executable, "-I", "-S", __file__]
    command += [str(os.getpid()), str(process.pid), marker]
    return spawn(command, marker, os.environ, Path(os.devnull))


def _command_line(pid: int) -> str:
    if _PROC.is_dir():
        try:
            return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""
    ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout  # noqa: S603


def _stands_still(pid: int) -> bool:
    """Whether every thread is stopped; without /proc it is taken to be."""
    try:
        stats = [stat.read_text() for stat in (_PROC / str(pid) / "task").glob("*/stat")]
    except OSError:
        return False  # a thread ended just now
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def _watch(owner: int, process: Process) -> None:
    while process.running:
        if os.getppid() != owner:
            process.signal(signal.SIGKILL)
            return
        time.sleep(_GUARD_POLL_S)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), Process(int(sys.argv[2]), sys.argv[3]))
