"""The process of a runner, as its keeper sees it; no call here blocks."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from kafka_etl.runtime.mailbox import Mailbox
from kafka_etl.runtime.messages import RunnerTask
from kafka_etl.runtime.tasks.exchange import FromRunner, Run
from kafka_etl.runtime.tasks.keeper.attempt import Attempt
from kafka_etl.runtime.tasks.keeper.control_groups import ControlGroup
from kafka_etl.runtime.tasks.keeper.runner_starts import RunnerStarts
from kafka_etl.tasks.log_records import Stream

_OUT_OF_THE_WAY: Final = 16
"""From this number on, a descriptor of the keeper is in no place of the runner's."""
_STREAMS: Final[tuple[Stream, ...]] = ("out", "err", "log", "stack")
DESCRIPTORS: Final = 1 + len(_STREAMS)
"""Descriptors that a keeper has of each runner."""
_AT_ONCE: Final = 65536
_MOST_AT_ONCE: Final = 1024 * 1024
_TAIL: Final = 4096


class Pipe:
    """The read end of a pipe that is always drained, and of which only the last bytes are kept.

    The end of the file means nothing: a grandchild may hold the pipe open as long as it lives.

    Args:
        stream: What is written into it.

    Attributes:
        tap: Takes what is read; None: nobody does.
    """

    def __init__(self, stream: Stream) -> None:
        self.file, theirs = os.pipe()
        try:
            self.theirs = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
        except OSError:
            os.close(self.file)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(self.file, False)
        self.stream: Final[Stream] = stream
        self.tap: Callable[[Stream, bytes], None] | None = None
        self._tail = bytearray()
        self.is_at_end = False

    @property
    def tail(self) -> str:
        """The last of what was written, as text."""
        return self._tail.decode("utf-8", "replace")

    def drain(self) -> None:
        """Read what is there, up to a limit, so that one writer does not keep us from others."""
        for _ in range(_MOST_AT_ONCE // _AT_ONCE):
            try:
                chunk = os.read(self.file, _AT_ONCE)
            except BlockingIOError:
                return
            if not chunk:
                self.is_at_end = True
                return
            self._tail = (self._tail + chunk)[-_TAIL:]
            if self.tap is not None:
                self.tap(self.stream, chunk)
            if len(chunk) < _AT_ONCE:
                return

    def clear(self) -> None:
        """Forget what was written so far."""
        self.drain()
        self._tail.clear()


class RunnerProcess:
    """A process in a session of its own, whose standard output and error are drained here.

    Attributes:
        attempt: The attempt that the process was given; None: none.
        served: Attempts that the process has answered.
        is_ready: Whether the operator is open.
        is_leaving: Whether the process is not to be given anything any more.
        kill_at: When the process is killed, since it takes too long to start, or to leave; None: it
            does neither.
        was_late: Whether the process was killed for that.
        has_hung_up: Whether the process has closed its connection, or talks nonsense.
        exit_status: Exit status, or minus the killing signal; None: the process runs.
        is_grown: Whether the process has so much memory that it should not serve another attempt.
        group: The control group of the process; None: it has none of its own.

    Raises:
        OSError: The system has no room for another process.
    """

    def __init__(self, task: RunnerTask, starts: RunnerStarts) -> None:
        self.group: ControlGroup | None = None
        self.pipes: Final[list[Pipe]] = []
        ours, theirs = socket.socketpair()
        self.mailbox: Final = Mailbox(ours)
        try:
            for stream in _STREAMS:
                self.pipes.append(Pipe(stream))
            self.pid = starts.start(theirs.fileno(), *(pipe.theirs for pipe in self.pipes))
        except OSError:
            self.close()
            raise
        finally:
            theirs.close()
            for pipe in self.pipes:
                os.close(pipe.theirs)
        _, self.errors, *_ = self.pipes
        self.mailbox.send(task)
        self.attempt: Attempt | None = None
        self.served = 0
        self.is_ready = False
        self.is_leaving = False
        self.kill_at: float | None = None
        self.exit_status: int | None = None
        self.was_late = self.has_hung_up = False
        self.is_grown = False

    @property
    def is_idle(self) -> bool:
        """Whether the process can be given an attempt."""
        is_there = self.is_ready and not self.is_leaving and not self.mailbox.is_closed
        return is_there and self.attempt is None

    def received(self) -> list[FromRunner]:
        """The values that have arrived completely since the last call."""
        return self.mailbox.received()

    def give(
        self, attempt: Attempt, run: Run, tap: Callable[[Stream, bytes], None] | None = None
    ) -> None:
        """Have the process run an attempt, whose prints the tap takes."""
        for pipe in self.pipes:
            pipe.clear()
            pipe.tap = tap
        self.attempt = attempt
        self.mailbox.send(run)

    def drain(self) -> None:
        """Read what the attempt has printed before it ended; the tap takes nothing after that."""
        for pipe in self.pipes:
            if self.exit_status is None:  # else all was read when the process ended
                pipe.drain()
            pipe.tap = None

    def dismiss(self, by: float) -> None:
        """Have the process close the operator and end by itself."""
        self.is_leaving = True
        self.kill_at = by
        self.mailbox.send(None)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all that it has started in its session.

        The process has not been reaped here, so its id still names its process group.
        """
        if self.exit_status is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def show_stacks(self) -> None:
        """Have the process write the stacks of its threads."""
        if self.is_ready and self.exit_status is None:
            os.kill(self.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """Kill the process and its session; orphans are swept once the process is gone."""
        self.is_leaving = True
        self.signal_group(signal.SIGKILL)
        if self.group is not None:
            self.group.kill()

    def close(self) -> None:
        if self.group is not None:
            self.group.remove()
        self.mailbox.close()
        for pipe in self.pipes:
            os.close(pipe.file)
