"""An owner's connection to its keeper: which losses are worth a warning."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kafka_etl.runtime.tasks.link import KeeperSocket
from kafka_etl.tasks.keeping import Acknowledged, FromKeeper, Holding, Leaving, pack

HOLDING = Holding("here", "boot", 1, {}, {})


class Keeper:
    """The keeper's end."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self.link = KeeperSocket(path, clock=self._tick)
        self._now = 0.0

    def _tick(self) -> float:
        self._now += 10
        return self._now

    def ends_after(self, *messages: FromKeeper) -> list[FromKeeper]:
        self.link.exchange()
        theirs, _ = self._listener.accept()
        theirs.sendall(b"".join(map(pack, messages)))
        theirs.close()
        return self.link.exchange()

    def close(self) -> None:
        self.link.close()
        self._listener.close()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path / "k")
    yield made
    made.close()


def test_a_keeper_that_takes_its_leave_is_not_missed(keeper: Keeper) -> None:
    with capture_logs() as logs:
        assert keeper.ends_after(HOLDING, Leaving()) == [HOLDING, Leaving()]
    assert logs == []
    assert not keeper.link.connected


def test_a_keeper_that_is_lost_is_told_even_after_an_earlier_leave(keeper: Keeper) -> None:
    keeper.ends_after(Leaving())
    with capture_logs() as logs:
        assert keeper.ends_after(HOLDING) == [HOLDING]
    (line,) = logs
    assert (line["log_level"], line["event"]) == ("warning", "the keeper is away")


def test_a_loss_while_sending_is_told(keeper: Keeper) -> None:
    keeper.ends_after(Leaving())
    with capture_logs() as logs:
        keeper.link.send(Acknowledged("t"))  # nobody is there: dropped
        keeper.ends_after()
    assert [line["reason"] for line in logs] == ["it has closed the connection"]


def test_who_waits_for_a_connection_that_another_thread_closes_is_told_of_none(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []
    close = socket.socket.close

    def closed(ours: socket.socket) -> None:
        close(ours)
        seen.append(keeper.link.fileno())

    keeper.link.exchange()
    monkeypatch.setattr(socket.socket, "close", closed)
    keeper.link.close()
    monkeypatch.undo()
    assert seen == [None]
