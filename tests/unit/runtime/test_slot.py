"""A worker's place, and what is said of those that died in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.log import get_logger
from kafka_etl.record import Partition
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.daemon import slot as module
from kafka_etl.runtime.daemon.slot import Watch, WorkerSlot
from kafka_etl.runtime.messages import Died, Ended, Snapshot, Standing, WorkerTask
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
    children = [FakeChild() for _ in range(4)]
    following = iter(children[1:])
    monkeypatch.setattr(module, "Child", lambda _module: next(following))
    return children


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    return tmp_path / "recorder"


@pytest.fixture
def evidence() -> list[Evidence | None]:
    """What each worker was given of its predecessor's death."""
    return []


@pytest.fixture
def slot(children: list[FakeChild], recorder: Path, evidence: list[Evidence | None]) -> WorkerSlot:
    first = cast("Child", children[0])
    task: Any = WorkerTask

    def make_task(left: Evidence | None) -> WorkerTask:
        evidence.append(left)
        return cast("WorkerTask", task)

    return WorkerSlot(make_task, recorder, Watch([]), first, get_logger("daemon"))


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
    first, second, third, _ = children
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


def test_evidence_is_kept_until_notes_of_it_are_committed(
    slot: WorkerSlot,
    children: list[FakeChild],
    recorder: Path,
    evidence: list[Evidence | None],
) -> None:
    """Partitions come before their notes: a worker that died in between took the evidence along."""
    first, second, third, _ = children
    slot.tick(0)
    written = Recorder(recorder)
    written.operating({Partition("orders", 0): (5, 9)})
    written.entering(1)
    first.status = KILLED
    slot.tick(1)
    slot.tick(2)
    second.pid = 2  # it dies before it opens its recorder: what is there is its predecessor's
    second.says = [Snapshot("running", 0, standing=Standing(partitions=1))]
    slot.tick(3)
    second.status = KILLED
    slot.tick(4)
    slot.tick(100)
    third.pid = 3
    assert evidence[0] is None
    assert evidence[1] is not None
    assert evidence[1].ranges == {Partition("orders", 0): (5, 9)}
    assert evidence[2] == evidence[1]
    third.says = [Snapshot("running", 0, standing=Standing(partitions=1), noted=True)]
    slot.tick(101)
    third.status = KILLED
    slot.tick(102)
    slot.tick(200)
    assert evidence[3] is None, "its notes count the death: nobody may count it again"


def test_a_worker_is_joined_when_it_runs_and_says_so(
    slot: WorkerSlot, children: list[FakeChild]
) -> None:
    first, second, *_ = children
    assert not slot.joined
    slot.tick(0)
    assert not slot.joined
    first.says = [Snapshot("running", 0, joined=True)]
    slot.tick(1)
    assert slot.joined
    first.status = KILLED
    slot.tick(2)
    assert not slot.joined
    slot.tick(100)
    assert not slot.joined, "it has not spoken yet"
    last = Snapshot("draining", 0, joined=True)
    second.says, second.status = [last, Ended("drained", last)], 0
    slot.tick(101)
    assert not slot.joined


@pytest.mark.parametrize(
    ("said", "new"),
    [
        (Snapshot("running", 5, {("commits", ""): 7}), False),
        (Snapshot("running", 5, standing=Standing(9, 10, 11)), False),
        (Snapshot("paused", 5), True),
        (Snapshot("running", 5, joined=True), True),
        (Ended("drained", Snapshot("running", 5)), True),
        (Died("ValueError"), True),
    ],
)
def test_figures_alone_are_no_news(
    slot: WorkerSlot, children: list[FakeChild], said: object, *, new: bool
) -> None:
    slot.tick(0)
    children[0].says = [Snapshot("running", 0)]
    assert slot.hear()
    assert not slot.hear()
    children[0].says = [said]
    assert slot.hear() is new
    children[0].has_hung_up = True
    assert slot.hear()
