"""A worker's place, and what is said of those that died in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from kafka_etl.log import get_logger
from kafka_etl.runtime import slot as module
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.messages import Died, Snapshot, WorkerTask
from kafka_etl.runtime.slot import Watch, WorkerSlot

KILLED = -9


class FakeChild:
    """A process that says what it is told to."""

    def __init__(self) -> None:
        self.pid = 1
        self.status: int | None = None
        self.says: list[object] = []

    def send(self, task: object) -> None: ...

    def received(self) -> list[object]:
        said, self.says = self.says, []
        return said

    def exit_status(self) -> int | None:
        return self.status

    def close(self) -> None: ...


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    children = [FakeChild() for _ in range(3)]
    following = iter(children[1:])
    monkeypatch.setattr(module, "Child", lambda _module: next(following))
    return children


@pytest.fixture
def slot(children: list[FakeChild], tmp_path: Path) -> WorkerSlot:
    first = cast("Child", children[0])
    task: Any = WorkerTask
    return WorkerSlot(lambda _: task, tmp_path / "none", Watch([]), first, get_logger("daemon"))


def test_why_a_worker_died_is_said_until_the_next_one_runs(
    slot: WorkerSlot, children: list[FakeChild]
) -> None:
    first, second, third = children
    slot.tick(0)
    first.says, first.status = [Snapshot("starting", 0), Died("ValueError: no such model")], 1
    slot.tick(1)
    assert slot.trouble == "a worker died: ValueError: no such model"
    slot.tick(100)
    second.says = [Snapshot("starting", 0)]
    slot.tick(101)
    assert slot.trouble == "a worker died: ValueError: no such model"
    second.says = [Snapshot("running", 0)]
    slot.tick(102)
    assert slot.trouble is None
    second.status = KILLED
    slot.tick(103)
    assert slot.trouble == "a worker died: killed by SIGKILL"
    slot.tick(200)
    third.says = [Snapshot("starting", 0, trouble="committing: slow")]
    slot.tick(201)
    assert slot.trouble == "committing: slow"
    assert slot.counters()["worker_deaths", "exit status 1"] == 1
