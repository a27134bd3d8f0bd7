"""A process of ours: started fresh, given a task, connected by a socket that carries values."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from kafka_etl.retry import Backoff
from kafka_etl.runtime import process_family
from kafka_etl.runtime.mailbox import Mailbox

WORKER: Final = "kafka_etl.runtime.worker.main"
"""The module of a worker, which does the preflight as well."""
RESTARTS: Final = Backoff(initial=0.2, max=30.0)
"""How long to wait before the successor of one that died."""
_PR_SET_PDEATHSIG: Final = 1

_ALLOCATOR: Final = {"MALLOC_TRIM_THRESHOLD_": str(2**27), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
"""For glibc: keep what a batch has freed for the next one.

By default the top of the heap goes back to the kernel and comes again many times in a batch: an
`orjson.dumps` then takes 1.4 us instead of 0.2.
"""


class _Process:
    """Runs `python -m module`, which waits for its task once it has imported what it needs.

    Never a fork: a forked process would share the Kafka client's sockets without its threads. In a
    session and a process group of its own, so that Ctrl-C reaches the daemon alone, and so that
    whatever operators have started in it can be killed along with it.

    Args:
        module: Whose `main` it runs.
        shared: Descriptors of files that it has, too, by the same numbers.
    """

    def __init__(self, module: str, *shared: int) -> None:
        self._socket, theirs = socket.socketpair()
        self._family = process_family.member()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env={**_ALLOCATOR, **os.environ, process_family.VARIABLE: self._family},
                pass_fds=[theirs.fileno(), *shared],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_status(self) -> int | None:
        """None while it runs; the exit status, or minus the signal that killed it.

        What it had started dies with it.
        """
        if self._process.returncode is None and self._is_dead():
            process_family.kill(self.pid, self._family)
            self._process.wait()
        return self._process.returncode

    def end(self) -> str:
        """Kill it with whatever it has started, and wait until it is gone; says how it ended."""
        if self._process.returncode is None:
            process_family.kill(self.pid, self._family)
        return describe_exit(self._process.wait())

    def _is_dead(self) -> bool:
        """Whether it has ended. It is not reaped yet: its id still means its process group."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class Child(_Process):
    """A process the daemon talks with, without ever waiting for it."""

    def __init__(self, module: str, *shared: int) -> None:
        super().__init__(module, *shared)
        self.mailbox: Final = Mailbox(self._socket)

    def send(self, value: object) -> None:
        """Send a value; a child that is gone is noticed elsewhere."""
        self.mailbox.send(value)

    def received(self) -> list[Any]:
        """Every value that has arrived since the last call."""
        return self.mailbox.received()

    @property
    def has_hung_up(self) -> bool:
        """Whether it says no more: it has ended, or is about to."""
        return self.mailbox.is_closed

    @property
    def is_garbled(self) -> bool:
        """Whether the child's connection carries something else than values."""
        return self.mailbox.is_broken

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone; what it has started is its own to end."""
        if self.exit_status() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it with whatever it has started, without waiting."""
        if self._process.returncode is None:
            process_family.kill(self.pid, self._family)

    def close(self) -> None:
        self.mailbox.close()


class OperatorChild(_Process):
    """A process a worker talks with, and waits for."""

    def __init__(self, module: str, *shared: int) -> None:
        super().__init__(module, *shared)
        self.connection: Connection[Any, Any] = Connection(self._socket.detach())

    def send(self, value: object) -> None:
        """Send a value; a child that is gone is noticed elsewhere."""
        with suppress(OSError):
            self.connection.send(value)

    def close(self) -> None:
        self.connection.close()


def task_of_child() -> tuple[Any, Connection[Any, Any]]:
    """In the child: its task, and the connection to its parent.

    From here on it dies with its parent: a worker without a daemon would work unwatched. A copy of
    it that an operator forks has no connection: it would speak for it.
    """
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    os.register_at_fork(after_in_child=connection.close)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return next_task(connection), connection


def next_task(connection: Connection[Any, Any]) -> Any:
    """In the child: what it is to do after that."""
    try:
        return connection.recv()
    except EOFError:  # the parent died before we could ask to die with it
        os._exit(1)


def describe_exit(status: int) -> str:
    """`killed by SIGSEGV`, `exit status 1`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
