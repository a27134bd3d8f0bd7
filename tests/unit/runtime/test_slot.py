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
        self.is_garbled = False
        self.given: list[WorkerTask] = []

    def send(self, task: WorkerTask) -> None:
        self.given.append(task)

    def kill(self) -> None:
        self.status = KILLED

    def received(self) -> list[object]:
        said, self.says = self.says, []
        return said

    def exit_status(self) -> int | None:
        return self.status

    def signal(self, number: int) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    children = [FakeChild() for _ in range(8)]
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
    nothing: Any = None

    def make_task(left: Evidence | None) -> WorkerTask:
        evidence.append(left)
        return WorkerTask(
            nothing,
            0,
            "",
            recorder,
            nothing,
            until_end=True,
            evidence=left,
            paused=False,
            logs=nothing,
        )

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
    first, second, third, *_ = children
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
    first, second, third, *_ = children
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


def died(slot: WorkerSlot, child: FakeChild, now: float, status: int = 1) -> None:
    child.status = status
    slot.tick(now)


def test_a_process_that_an_operator_has_ruined_is_led_back_to_its_record(
    slot: WorkerSlot, children: list[FakeChild], recorder: Path, evidence: list[Evidence | None]
) -> None:
    """The worker dies later, in any phase: its successors take one record at a time."""
    orders = Partition("orders", 3)
    for number, child in enumerate(children[:4]):
        slot.tick(100 * number)
        written = Recorder(recorder)
        written.operating({orders: (41, 42)})
        written.in_hand(orders, 41)
        written.phase("commit")
        died(slot, child, 100 * number + 1)
    slot.tick(1000)
    assert [child.given[0].cautious for child in children[:5]] == [False, False, True, True, True]
    assert [found is not None for found in evidence] == [False, False, False, True, True]
    assert evidence[-1] is not None
    assert evidence[-1].in_hand == (orders, 41)
    assert evidence[-1].reason == "exit status 1"


def test_a_commit_that_stands_still_is_no_records_fault(
    slot: WorkerSlot,
    children: list[FakeChild],
    recorder: Path,
    evidence: list[Evidence | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_OTHER_LIMIT", -1.0)
    orders = Partition("orders", 3)
    for number, child in enumerate(children[:5]):
        slot.tick(100 * number)
        written = Recorder(recorder)
        written.operating({orders: (41, 42)})
        written.in_hand(orders, 41)
        written.phase("commit")
        slot.tick(100 * number + 1)
        died(slot, child, 100 * number + 2, KILLED)
    assert evidence == [None] * 5


def test_a_worker_that_somebody_else_has_told_to_end_is_started_again(
    slot: WorkerSlot, children: list[FakeChild]
) -> None:
    slot.tick(0)
    children[0].says = [Ended("drained", Snapshot("draining", 0))]
    died(slot, children[0], 1, 0)
    assert slot.ended is None
    slot.tick(100)
    assert children[1].given
    slot.drain()
    children[1].says = [Ended("drained", Snapshot("draining", 0))]
    died(slot, children[1], 101, 0)
    assert slot.over


def test_a_worker_that_writes_what_is_no_value_is_ended(
    slot: WorkerSlot, children: list[FakeChild]
) -> None:
    slot.tick(0)
    children[0].is_garbled = True
    slot.tick(1)
    assert children[0].status == KILLED
    slot.tick(2)
    assert slot.trouble == "a worker died: user code wrote into the connection to the daemon"


def test_a_host_without_room_for_a_process_is_asked_again(
    slot: WorkerSlot, children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_module: str) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    slot.tick(0)
    children[0].status = KILLED
    slot.tick(1)
    with monkeypatch.context() as full:
        full.setattr(module, "Child", no_room)
        slot.tick(100)
        assert "Resource temporarily unavailable" in (slot.trouble or "")
        assert not slot.over
    slot.tick(101)
    assert children[1].given == []
    slot.tick(105)
    assert len(children[1].given) == 1
