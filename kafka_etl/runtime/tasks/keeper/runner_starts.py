"""Starts the processes of runners: a fork of the fork server, or a new interpreter."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from kafka_etl.log import get_logger
from kafka_etl.runtime import process_family
from kafka_etl.runtime.child import environment_of_child
from kafka_etl.runtime.tasks.exchange import CONNECTION, LOG, STACKS

_RUNNER: Final = "kafka_etl.runtime.tasks.runner.runner"
_SERVER: Final = "kafka_etl.runtime.tasks.runner.fork_server"
_ANSWERS_WITHIN: Final = 2.0
_LONGEST: Final = 16
_log = get_logger("keeper")


class ForkServerLost(OSError):
    """The fork server has not answered, and is ended.

    A process that it has made after all has these files: the next start needs others.
    """


class RunnerStarts:
    """Starts runners.

    The fork server is started with the first runner. As long as it is not ready, and on systems
    without one, a runner is a new interpreter.

    Attributes:
        server: Process id of the fork server; None: there is none.
    """

    def __init__(self) -> None:
        self.server: int | None = None
        self._socket: socket.socket | None = None
        self._is_ready = False

    def start(self, connection: int, output: int, errors: int, log: int, stacks: int) -> int:
        """Start a process in a session of its own; return its id.

        Args:
            connection: Descriptor of the runner's end of its connection.
            output: Descriptor of its standard output.
            errors: Descriptor of its standard error.
            log: Descriptor of the pipe of `Context.log`.
            stacks: Descriptor of the pipe of stacks.

        Raises:
            OSError: The system has no room for another process.
            ForkServerLost: The start is to be repeated, with other files.
        """
        files = {1: output, 2: errors, CONNECTION: connection, LOG: log, STACKS: stacks}
        return self._fork([*files.values()]) or _spawn(_RUNNER, files)

    def died(self, pid: int) -> None:
        """A child of the keeper has died: perhaps it was the fork server."""
        if pid == self.server:
            self._forget()

    def close(self) -> None:
        """End the fork server."""
        if self.server is not None:
            with suppress(ProcessLookupError):
                os.kill(self.server, signal.SIGKILL)

    def _fork(self, files: list[int]) -> int | None:
        """The id of a new process; None: there is no fork server, or it is not ready."""
        if self._socket is None:
            self._start_server()
            return None
        try:
            if not self._is_ready:
                self._socket.setblocking(False)
                self._is_ready = bool(self._socket.recv(_LONGEST))
            self._socket.settimeout(_ANSWERS_WITHIN)
            socket.send_fds(self._socket, [b"runner"], files)
        except BlockingIOError:
            return None
        except OSError as error:
            self._lose(self._socket, str(error))
            return None
        return self._answer(self._socket)

    def _answer(self, server: socket.socket) -> int:
        """The id of the process that the fork server has made."""
        try:
            answer = server.recv(_LONGEST)
        except OSError as error:
            self._lose(server, str(error))
            raise ForkServerLost(str(error)) from error
        if not answer:
            self._lose(server, "it has ended")
            raise ForkServerLost
        return int.from_bytes(answer, "big")

    def _lose(self, server: socket.socket, why: str) -> None:
        """End a fork server; another is started once its end is seen."""
        _log.warning("the fork server does not answer", error=why)
        self.close()
        server.close()
        self._socket, self._is_ready = None, False

    def _start_server(self) -> None:
        if sys.platform != "linux" or self.server is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, suppress(OSError):
            self.server = _spawn(_SERVER, {1: 2, CONNECTION: theirs.fileno()})
            self._socket = ours
            return
        ours.close()

    def _forget(self) -> None:
        self.server, self._is_ready = None, False
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _spawn(module: str, files: Mapping[int, int]) -> int:
    """Start a new interpreter; return its id. Nothing but standard files and these is passed on.

    Args:
        module: The module to run.
        files: Number in the new process -> our descriptor, which is no number of these.

    `subprocess` would reap the process by itself; but its death is to be seen before that.
    """
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", module, str(CONNECTION)],
        environment_of_child(process_family.member()),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            *((os.POSIX_SPAWN_DUP2, file, number) for number, file in files.items()),
        ],
        setsid=True,
    )
