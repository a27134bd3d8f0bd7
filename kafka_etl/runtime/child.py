"""Child processes: each is a new interpreter with one task and a socket to its parent."""

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
"""The module that a worker's process runs; the same process can run the preflight first."""
RESTARTS: Final = Backoff(initial=0.2, max=30.0)
"""The waits, in seconds, before a process that died is started again."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_ALLOCATOR: Final = {"MALLOC_TRIM_THRESHOLD_": str(2**27), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
"""Settings of glibc's allocator: memory freed by one batch stays in the process for the next batch.

By default glibc returns the top of the heap to the kernel, and requests the memory again, many
times in a batch: one `orjson.dumps` then takes 1.4 us instead of 0.2 us.
"""


def environment_of_child(family: str) -> dict[str, str]:
    """The environment variables of a child process that is the first of this family."""
    return {**_ALLOCATOR, **os.environ, process_family.VARIABLE: family}


class _Process:
    """A process that runs `python -P -m module`, and waits for its task once its imports are done.

    Modules in the current folder do not count: a `queue.py` there would take the place of Python's.

    The process is never a fork: a fork would share the Kafka client's sockets, but not the client's
    threads. The process has a session and a process group of its own: Ctrl-C then reaches the
    daemon alone, and the processes that operators start can be killed together with the worker.

    Args:
        module: The module to run.
        shared: File descriptors that the process inherits under the same numbers.

    Raises:
        OSError: The host has no room for another process.
    """

    def __init__(self, module: str, *shared: int) -> None:
        self._socket, theirs = socket.socketpair()
        self._family = process_family.member()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=environment_of_child(self._family),
                pass_fds=[theirs.fileno(), *shared],
                start_new_session=True,
            )
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return None while the process runs, else its exit status, or minus the killing signal.

        The first call after the process has ended kills the processes that it started.
        """
        if self._process.returncode is None and self._is_dead():
            process_family.kill(self.pid, self._family)
            self._process.wait()
        return self._process.returncode

    def end(self) -> str:
        """Kill the process and all processes it started, wait for its end, and describe the exit.

        Returns:
            A text of `describe_exit`, such as `killed by SIGKILL`.
        """
        if self._process.returncode is None:
            process_family.kill(self.pid, self._family)
        return describe_exit(self._process.wait())

    def _is_dead(self) -> bool:
        """Whether the process has ended.

        The process is not reaped here: until it is, its id still names its process group.
        """
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class Child(_Process):
    """A child process of the daemon; no call but `end` waits for the process."""

    def __init__(self, module: str, *shared: int) -> None:
        super().__init__(module, *shared)
        self.mailbox: Final = Mailbox(self._socket)

    def send(self, value: object) -> None:
        """Send a value; a dead child raises no error here, and is found by `exit_status`."""
        self.mailbox.send(value)

    def received(self) -> list[Any]:
        """Return the values that have arrived completely since the last call."""
        return self.mailbox.received()

    @property
    def has_hung_up(self) -> bool:
        """Whether the child has closed its end of the socket: the child has ended, or will soon."""
        return self.mailbox.is_closed

    @property
    def is_garbled(self) -> bool:
        """Whether the child's connection carries something else than values."""
        return self.mailbox.is_broken

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child alone; the child itself ends the processes it started."""
        if self.exit_status() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the child and all processes it started, without waiting for their end."""
        if self._process.returncode is None:
            process_family.kill(self.pid, self._family)

    def close(self) -> None:
        self.mailbox.close()


def worker_in_advance() -> Child | None:
    """A worker's process that waits for its task; None: the host has no room for another process.

    Whoever needs the worker then starts it later.
    """
    try:
        return Child(WORKER)
    except OSError:
        return None


class OperatorChild(_Process):
    """A child process of a worker, for one operator; the worker waits for its answers."""

    def __init__(self, module: str, *shared: int) -> None:
        super().__init__(module, *shared)
        self.connection: Connection[Any, Any] = Connection(self._socket.detach())

    def send(self, value: object) -> None:
        """Send a value; a dead child raises no error here, and is found by `exit_status`."""
        with suppress(OSError):
            self.connection.send(value)

    def close(self) -> None:
        self.connection.close()


def task_of_child(
    when_orphaned: signal.Signals = signal.SIGKILL,
) -> tuple[Any, Connection[Any, Any]]:
    """Return the child's first task and the connection to its parent; called in the child.

    After this call the child gets the signal `when_orphaned` when its parent dies, on Linux: a
    worker without a daemon would run unwatched. Processes that an operator starts do not have the
    connection: a value that a fork sends would pass for the child's own.
    """
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    os.register_at_fork(after_in_child=connection.close)
    end_with_parent(when_orphaned)
    return next_task(connection), connection


def end_with_parent(number: signal.Signals) -> None:
    """Get a signal when our parent dies, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of all our descendants whose own parent dies, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def next_task(connection: Connection[Any, Any]) -> Any:
    """Wait for the child's next task; called in the child, which exits if its parent is dead."""
    try:
        return connection.recv()
    except EOFError:  # the parent died before `prctl` tied the child's life to the parent's
        os._exit(1)


def describe_exit(status: int) -> str:
    """Describe an exit status in words: `killed by SIGSEGV`, `exit status 1`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
