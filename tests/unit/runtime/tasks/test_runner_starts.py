"""A fork server that is late, or gone: no two processes are ever given the same files."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from kafka_etl.runtime.tasks.keeper import runner_starts as module
from kafka_etl.runtime.tasks.keeper.runner_starts import ForkServerLost, RunnerStarts

SPAWNED = 7


class Server:
    """A fork server's end of its socket, and what became of its process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed: list[tuple[int, int]] = []
        self.ends: list[socket.socket] = []
        self.runners = 0
        monkeypatch.setattr(module, "_spawn", self._spawn)
        monkeypatch.setattr(module, "_ANSWERS_WITHIN", 0.05)
        monkeypatch.setattr(os, "kill", lambda pid, number: self.killed.append((pid, number)))

    @property
    def socket(self) -> socket.socket:
        return self.ends[-1]

    def _spawn(self, started: str, files: dict[int, int]) -> int:
        if started == module._SERVER:
            self.ends.append(socket.socket(fileno=os.dup(files[module.CONNECTION])))
            self.socket.send(b"ready")
            return 5
        self.runners += 1
        return SPAWNED


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server(monkeypatch)
    yield made
    for end in made.ends:
        end.close()


def start(starts: RunnerStarts) -> int:
    return starts.start(0, 1, 2, 1, 2)


def test_the_first_runner_is_a_new_interpreter_and_others_are_forks(server: Server) -> None:
    starts = RunnerStarts()
    assert start(starts) == SPAWNED
    server.socket.send((42).to_bytes(4, "big"))
    assert start(starts) == 42
    assert server.runners == 1
    starts.died(5)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_files_that_a_fork_may_have_are_given_to_no_other_process(
    server: Server, hangs_up: bool
) -> None:
    starts = RunnerStarts()
    start(starts)
    if hangs_up:
        server.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(ForkServerLost):
        start(starts)
    assert server.killed == [(5, signal.SIGKILL)]
    assert server.runners == 1
    assert start(starts) == SPAWNED  # with other files, while the death of the server is not seen
    starts.died(5)
    assert start(starts) == SPAWNED  # a new server is not ready
    starts.died(5)
