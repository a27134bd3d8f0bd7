"""Processes that are known by their pid; run as a script, this file is the guard of a process.

The file imports only the standard library, because a guard must start within milliseconds.
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
    """A process, which a text in its command line tells from a later process with the same pid.

    Attributes:
        pid: Process id.
        exit_code: Exit code, negative after a signal; None: the process is running, or its exit
            code is unknown, because the process is not a child of this program.

    Args:
        pid: Process id.
        marker: A text in the command line of the process.
        child: Whether the process is a child of this program.
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
        """Send a signal, unless the process has ended, when another process may have its pid."""
        if self.running:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                self._gone = True

    def wait(self, timeout_s: float, or_until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the process ends, or `or_until` is true, or the time has passed.

        Returns:
            Whether the process has ended.
        """
        deadline = time.monotonic() + timeout_s
        while self.running:
            if time.monotonic() > deadline or or_until():
                return False
            time.sleep(_POLL_S)
        return True

    def terminate(self) -> None:
        """Ask the process to end, by SIGTERM."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a suspended process would not notice SIGTERM

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait(timeout_s=10)

    def suspend(self) -> None:
        """Send SIGSTOP, and wait until all threads are stopped: a busy process still answers."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + _STILL_S
        while self.running and not _stands_still(self.pid) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _seen(self) -> bool:
        if self._child:
            try:
                # No other process gets the pid of a child before the parent has waited for it.
                ended, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self._child = False  # in a fork of the parent, or after a wait elsewhere
            else:
                if ended:
                    self.exit_code = os.waitstatus_to_exitcode(status)
                return not ended
        return self._marker in _command_line(self.pid)


def spawn(command: list[str], marker: str, environment: Mapping[str, str], log: Path) -> Process:
    """Start a program in its own session, so that Ctrl-C in a terminal does not reach the program.

    Unlike `subprocess.Popen`, this function creates no object that must be waited for.

    Args:
        command: Path of the program, and its arguments.
        marker: A text in the command, for `Process`.
        environment: Environment variables of the program.
        log: File to which standard output and standard error are appended.
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
        setsigmask=(),  # a program must not inherit a blocked SIGTERM
        setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGTERM),
    )
    return Process(pid, marker, child=True)


def guard(process: Process, marker: str) -> Process:
    """Start a guard, which kills the process when the calling program has ended.

    Linux's PR_SET_PDEATHSIG would already kill the process at the end of the calling thread.
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
    """Whether every thread of a process is stopped; True on systems without /proc."""
    try:
        stats = [stat.read_text() for stat in (_PROC / str(pid) / "task").glob("*/stat")]
    except OSError:
        return False  # a thread has ended meanwhile
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def _watch(owner: int, process: Process) -> None:
    while process.running:
        if os.getppid() != owner:
            process.signal(signal.SIGKILL)
            return
        time.sleep(_GUARD_POLL_S)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), Process(int(sys.argv[2]), sys.argv[3]))
