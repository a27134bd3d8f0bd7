"""A worker's place, and what is said of those that died in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from kafka_etl.log import get_logger
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.daemon import slot as module
from kafka_etl.runtime.daemon.slot import Watch, WorkerSlot
from kafka_etl.runtime.messages import Died, Snapshot, WorkerTask
from kafka_etl.runtime.recorder import Recorder

KILLED = -9


class FakeChild:
    """A process that says what it is told to."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.status: int | None = None
        self.says: list[object] = []
        self.has_hung_up = False

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
def recorder(tmp_path: Path) -> Path:
    return tmp_path / "recorder"


@pytest.fixture
def slot(children: list[FakeChild], recorder: Path) -> WorkerSlot:
    first = cast("Child", children[0])
    task: Any = WorkerTask
    return WorkerSlot(lambda _: task, recorder, Watch([]), first, get_logger("daemon"))


def test_a_death_loses_nothing_of_what_was_counted(
    slot: WorkerSlot, children: list[FakeChild], recorder: Path
) -> None:
    slot.tick(0)
    written = Recorder(recorder)
    children[0].says = [Snapshot("running", 0, {("commits", ""): 1, ("retry_waves", ""): 5})]
    written.count({("commits", ""): 3, ("records_in", ""): 30, ("retry_waves", ""): 4})
    children[0].status = KILLED
    slot.tick(1)
    slot.tick(2)
    counters = slot.counters()
    assert counters["commits", ""] == 3
    assert counters["records_in", ""] == 30
    assert counters["retry_waves", ""] == 5
    assert slot.unexplained_deaths == 1
    slot.tick(100)
    children[1].status = KILLED  # it has written nothing yet: what is there is its predecessor's
    children[1].pid = 2
    slot.tick(101)
    assert slot.counters()["commits", ""] == 3
    assert slot.unexplained_deaths == 2


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
