"""The keeper of a task pipeline, as its daemon sees it."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl.log import get_logger
from kafka_etl.runtime.daemon import keeper_process as module
from kafka_etl.runtime.daemon.keeper_process import KeeperProcess


class Task:
    """What the daemon's side of a keeper looks at of its task."""

    lost_after = 60.0
    finish_within = 0.0


def test_a_host_without_room_for_a_process_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no_room(name: str) -> None:
        asked.append(name)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(module, "Child", no_room)
    monkeypatch.setattr(module.random, "random", lambda: 1.0)
    task: Any = Task()
    keeper = KeeperProcess(task, 10.0, get_logger("daemon"))
    for now in (1.0, 1.1, 60.0, 60.1, 120.0):
        keeper.tick(now)
    assert len(asked) == 3
    assert keeper.child is None
    assert not keeper.over
    keeper.stop()
    assert keeper.over
