"""A process of ours: started fresh, given a task, connected by a pipe that carries values."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any, Final

from kafka_etl.retry import Backoff

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


class Child:
    """Runs `python -m module`, which waits for its task once it has imported what it needs.

    Never a fork: a forked process would share the Kafka client's sockets without its threads. In a
    session of its own, so that Ctrl-C reaches the daemon alone.

    Args:
        module: Whose `main` it runs.
        shared: Descriptors of files that it has, too, by the same numbers.
    """

    def __init__(self, module: str, *shared: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env={**_ALLOCATOR, **os.environ},
                pass_fds=[theirs.fileno(), *shared],
                start_new_session=True,
            )
        self.connection: Connection[Any, Any] = Connection(ours.detach())

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: object) -> None:
        """Send a value; a child that is gone is noticed elsewhere."""
        try:
            self.connection.send(message)
        except OSError:
            return

    def received(self) -> list[Any]:
        """Everything it has sent since the last call."""
        messages: list[Any] = []
        try:
            while self.connection.poll():
                messages.append(self.connection.recv())
        except (EOFError, OSError):
            pass
        return messages

    def exit_status(self) -> int | None:
        """None while it runs; the exit status, or minus the signal that killed it."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> str:
        """Kill it with whatever it has started, and wait until it is gone; says how it ended."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        return describe_exit(self._process.wait())

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
