"""Orders to a daemon and what comes of them: pause, resume, restart, reload, and a stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.cli.daemon.run import read_pipelines, read_what_is_good
from kafka_etl.errors import BreakerTripped, ConfigError, KafkaEtlError, NameChanged, SchemaMissing
from kafka_etl.runtime.daemon.daemon import Daemon, DaemonOptions
from kafka_etl.runtime.daemon.order import Order, Verb
from kafka_etl.runtime.daemon.state import State
from kafka_etl.runtime.daemon.version import RunOptions
from kafka_etl.runtime.messages import LogSettings
from tests.unit.config.project import pipeline
from tests.unit.runtime.workers import GOOD, FakeWorkers, in_file

TYPO = ConfigError("the operator has a typo", "correct it").problem


class Scene:
    """A daemon with its folder of pipeline files, and no process."""

    def __init__(self, folder: Path, workers: FakeWorkers) -> None:
        self.folder = folder
        self.workers = workers
        self.now = 0.0
        self.write("orders")
        self.daemon: Any = self.start()

    def start(self, *, until_end: bool = False) -> Daemon:
        return Daemon(
            read_pipelines([self.folder], {}),
            DaemonOptions(
                run=RunOptions(until_end=until_end, workers=None, logs=LogSettings({})),
                state_folder=self.folder / "state",
                instance="blue",
                reload=lambda path: read_pipelines([path], {}),
                reload_all=lambda: read_what_is_good([self.folder], {}),
                look=lambda _view: None,
            ),
        )

    def write(self, name: str, *blocks: str, topic: str = "first", file: str = "") -> Path:
        sink = f"sink: {{use: kafka, with: {{topic: {topic}, value: json}}}}"
        path = self.folder / f"{file or name}.yaml"
        path.write_text(pipeline(f"name: {name}", sink, *blocks))
        return path

    def turns(self, count: int = 5) -> None:
        """The main loop goes round."""
        for _ in range(count):
            self.now += 0.2
            self.daemon._turn(self.now)

    def begin(self) -> None:
        for managed in self.daemon._pipelines.values():
            managed.begin()
        self.turns()

    def order(self, verb: Verb, name: str = "orders") -> Order:
        order: Order = self.daemon.order(name, verb)
        self.turns()
        return order

    def state(self, name: str = "orders") -> State:
        state: State = self.daemon._pipelines[name].status().state
        return state

    def count(self, metric: str) -> float:
        count: float = self.daemon._pipelines["orders"].status().count(metric)
        return count

    def trouble(self) -> str | None:
        trouble: str | None = self.daemon._pipelines["orders"].status().trouble
        return trouble

    def topics(self) -> list[str]:
        """Where the workers write to that are at work."""
        return [in_file(worker)[1] for worker in self.workers.at_work()]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(tmp_path, FakeWorkers(monkeypatch))
    made.begin()
    assert made.state() is State.RUNNING
    yield made
    made.daemon._folder.close()


def refused(order: Order) -> str:
    assert order.settled
    assert order.problem is not None
    return order.problem.what


# Restart


def test_a_new_version_takes_the_place_of_the_old_one(scene: Scene) -> None:
    scene.write("orders", "workers: 2", topic="second")
    scene.workers.verdict = lambda _document: None
    order = scene.order(Verb.RESTART)
    assert order.progress == "checking the new version"
    assert (scene.state(), scene.topics()) == (State.RUNNING, ["first"])
    (old,) = scene.workers.at_work()
    checking = scene.workers.all[-1]
    old.stays = True
    scene.workers.verdict = lambda _document: GOOD
    scene.turns()
    assert order.progress == "the new version is good; draining the running one"
    assert (scene.state(), old.signals, checking.task) == (State.DRAINING, [signal.SIGTERM], None)
    old.leave()
    scene.turns()
    assert (scene.state(), scene.topics()) == (State.RUNNING, ["second", "second"])
    assert checking.task is not None
    assert checking.task.worker == 0
    assert (order.settled, order.problem, order.progress) == (True, None, "running")
    assert len(scene.workers.alive()) == 2


def test_what_preflight_finds_wrong_leaves_the_running_version_alone(scene: Scene) -> None:
    scene.write("orders", topic="second")
    scene.workers.verdict = lambda _document: TYPO
    order = scene.order(Verb.RESTART)
    assert order.problem is not None
    assert (order.problem.code, order.problem.next_step) == ("E100", "correct it")
    assert order.problem.what == (
        "the new version of `orders` was not started, and nothing has changed: "
        "the operator has a typo"
    )
    (worker,) = scene.workers.alive()
    assert (in_file(worker)[1], worker.signals, scene.state()) == ("first", [], State.RUNNING)
    assert scene.trouble() == order.problem.what
    scene.workers.verdict = lambda _document: GOOD
    assert scene.order(Verb.RESTART).problem is None
    assert (scene.topics(), scene.trouble()) == (["second"], None)


def test_a_check_that_is_killed_for_ever_comes_to_an_end(scene: Scene) -> None:
    scene.workers.verdict = lambda _document: None
    order = scene.order(Verb.RESTART)
    for _ in range(25):
        for worker in scene.workers.alive():
            if worker.task is None:
                worker.die()
        scene.now += 60
        scene.turns(2)
    assert "preflight ended without an answer" in refused(order)
    assert scene.topics() == ["first"]


def test_a_process_that_dies_while_it_waits_for_the_drain_is_replaced(scene: Scene) -> None:
    (old,) = scene.workers.at_work()
    old.stays = True
    order = scene.order(Verb.RESTART)
    scene.workers.all[-1].die()
    old.leave()
    scene.turns()
    assert (order.problem, scene.state(), scene.count("worker_deaths")) == (None, "running", 0)


def test_a_file_that_is_wrong_is_said_at_once(scene: Scene) -> None:
    (scene.folder / "orders.yaml").write_text("name: [")
    with pytest.raises(ConfigError, match="nothing has changed for pipeline `orders`: 1 problem"):
        scene.daemon.order("orders", Verb.RESTART)
    scene.turns()
    assert scene.topics() == ["first"]


def test_another_name_is_refused(scene: Scene) -> None:
    scene.write("bills", file="orders")
    with pytest.raises(NameChanged) as caught:
        scene.daemon.order("orders", Verb.RESTART)
    assert "calls its pipeline `bills` now; it runs on as `orders`" in caught.value.what
    assert "stop the daemon and run it again" in caught.value.next_step
    scene.turns()
    assert scene.topics() == ["first"]


def test_another_group_is_noted(scene: Scene) -> None:
    scene.write("orders", "source: {use: kafka, with: {topics: [o], value: json, group: other}}")
    order = scene.order(Verb.RESTART)
    assert order.notes == ("reads in group `other` from now on, not in `orders`",)
    scene.write("orders", "source: {use: kafka, with: {topics: [o], value: json, group: other}}")
    assert scene.order(Verb.RESTART).notes == ()


def test_counters_stay_over_a_restart_and_a_death(scene: Scene) -> None:
    scene.order(Verb.RESTART)
    assert (scene.count("records_in"), scene.count("dead_letters")) == (20, 2)
    scene.workers.at_work()[0].die()
    scene.turns()
    scene.now += 60
    scene.turns()
    assert (scene.count("records_in"), scene.count("worker_deaths")) == (30, 1)
    scene.order(Verb.RESTART)
    assert (scene.count("records_in"), scene.count("worker_deaths")) == (40, 1)


def test_what_has_failed_begins_with_the_new_version(scene: Scene) -> None:
    scene.workers.at_work()[0].leave(KafkaEtlError("a bad record").problem)
    scene.turns()
    assert scene.state() is State.FAILED
    scene.write("orders", topic="second")
    scene.workers.verdict = lambda _document: TYPO
    order = scene.order(Verb.RESTART)
    assert (refused(order), scene.state()) == ("the operator has a typo", State.FAILED)
    scene.workers.verdict = lambda _document: GOOD
    assert scene.order(Verb.RESTART).progress == "running"
    assert (scene.topics(), scene.count("records_in")) == (["second"], 20)


def test_a_version_that_fails_when_it_has_started_fails_its_order(scene: Scene) -> None:
    (old,) = scene.workers.at_work()
    old.stays = True
    order = scene.order(Verb.RESTART)
    old.leave()
    new = scene.workers.all[-1]
    new.leave(SchemaMissing("no such schema").problem)
    new._status = None  # it dies once it has its task
    scene.turns()
    assert (scene.state(), refused(order)) == (State.FAILED, "no such schema")


def test_a_newer_version_is_checked_instead_of_the_one_before(scene: Scene) -> None:
    scene.write("orders", topic="second")
    scene.workers.verdict = lambda _document: None
    first = scene.order(Verb.RESTART)
    scene.write("orders", topic="third")
    second = scene.order(Verb.RESTART)
    assert refused(first) == "pipeline `orders` is restarted by another order"
    scene.workers.verdict = lambda _document: GOOD
    scene.turns()
    assert (second.problem, scene.topics(), len(scene.workers.alive())) == (None, ["third"], 1)


def test_a_restart_waits_for_the_one_that_drains(scene: Scene) -> None:
    (old,) = scene.workers.at_work()
    old.stays = True
    first = scene.order(Verb.RESTART)
    scene.workers.verdict = lambda _document: TYPO
    second = scene.order(Verb.RESTART)
    assert second.progress == "waiting for the restart that is under way"
    old.leave()
    scene.turns()
    assert first.problem is None
    assert "typo" in refused(second)
    assert scene.state() is State.RUNNING


def test_a_restart_that_waits_keeps_the_daemon(scene: Scene) -> None:
    (old,) = scene.workers.at_work()
    old.stays = True
    scene.order(Verb.RESTART)
    second = scene.order(Verb.RESTART)
    old.leave()
    new = scene.workers.all[-1]
    scene.turns(1)
    managed = scene.daemon._pipelines["orders"]
    managed.tick(scene.now)
    new.leave(TYPO)
    managed.tick(scene.now)
    assert scene.state() is State.FAILED
    assert not scene.daemon._is_over()
    scene.turns()
    assert (second.problem, scene.state()) == (None, State.RUNNING)


# A stop wins


def draining(scene: Scene) -> None:
    scene.workers.at_work()[0].stays = True
    scene.turns()


def checking(scene: Scene) -> None:
    scene.workers.verdict = lambda _document: None
    scene.turns()


def starting(scene: Scene) -> None:
    scene.turns(2)


@pytest.mark.parametrize("at", [lambda _scene: None, checking, draining, starting])
def test_a_stop_wins_over_a_restart(scene: Scene, at: Callable[[Scene], None]) -> None:
    if at is draining:
        scene.workers.at_work()[0].stays = True
    order = scene.daemon.order("orders", Verb.RESTART)
    at(scene)
    scene.daemon._on_signal(signal.SIGTERM, None)
    for worker in scene.workers.at_work():
        if worker.stays:
            worker.leave()
    scene.workers.verdict = lambda _document: GOOD
    scene.turns(20)
    assert scene.daemon._is_over()
    assert scene.workers.alive() == []
    assert scene.state() is State.STOPPED
    assert order.settled
    late = scene.order(Verb.RESTART)
    assert refused(late) == "pipeline `orders` is being stopped, with its daemon"
    assert scene.daemon._is_over()


# Pause and resume


def test_a_pause_is_over_when_every_worker_says_so(scene: Scene) -> None:
    (worker,) = scene.workers.at_work()
    worker.send = lambda _command: None  # type: ignore[method-assign] # it is busy
    order = scene.order(Verb.PAUSE)
    assert (order.settled, order.progress) == (False, "pausing")
    worker.say("paused")
    scene.turns()
    assert (order.settled, order.progress) == (True, "paused")
    resume = scene.order(Verb.RESUME)
    assert (resume.settled, resume.progress) == (False, "resuming")
    worker.say("running")
    scene.turns()
    assert (resume.settled, resume.progress) == (True, "running")


def test_a_resume_that_ends_in_the_next_pause_says_why(scene: Scene) -> None:
    (worker,) = scene.workers.at_work()
    tripped = BreakerTripped("1000 in a row").problem
    worker.say("paused", tripped)
    scene.turns()
    assert scene.state() is State.BREAKER
    worker.send = lambda _command: None  # type: ignore[method-assign]
    order = scene.order(Verb.RESUME)
    assert not order.settled
    worker.say("paused", tripped, at_ms=time.time_ns() // 1_000_000 + 2000)
    scene.turns()
    assert refused(order) == "1000 in a row"


def test_what_is_not_paused_cannot_be_resumed(scene: Scene) -> None:
    assert refused(scene.order(Verb.RESUME)) == "pipeline `orders` is not paused: it is running"


def test_what_has_stopped_is_to_be_restarted(scene: Scene) -> None:
    scene.workers.at_work()[0].leave(TYPO)
    scene.turns()
    for verb, why in ((Verb.RESUME, "is not paused"), (Verb.PAUSE, "cannot be paused")):
        order = scene.order(verb)
        assert refused(order) == f"pipeline `orders` {why}: it is failed"
        assert order.problem is not None
        assert order.problem.next_step == "`kafka-etl restart orders` starts it anew."


def test_a_pause_before_there_is_a_worker_holds_when_there_is_one(scene: Scene) -> None:
    scene.workers.at_work()[0].leave(TYPO)
    scene.turns()
    scene.workers.verdict = lambda _document: None
    restart = scene.order(Verb.RESTART)
    assert scene.order(Verb.PAUSE).progress == "preflight, to be paused"
    scene.workers.verdict = lambda _document: GOOD
    scene.turns()
    assert (restart.progress, scene.state()) == ("paused", State.PAUSED)


def test_a_restart_ends_a_pause_and_a_refused_one_does_not(scene: Scene) -> None:
    scene.order(Verb.PAUSE)
    scene.workers.verdict = lambda _document: TYPO
    assert "typo" in refused(scene.order(Verb.RESTART))
    assert scene.state() is State.PAUSED
    scene.workers.verdict = lambda _document: GOOD
    assert scene.order(Verb.RESTART).progress == "running"


def test_what_is_ordered_while_a_new_version_is_checked_holds_for_that(scene: Scene) -> None:
    scene.workers.verdict = lambda _document: None
    restart = scene.order(Verb.RESTART)
    assert scene.order(Verb.PAUSE).progress == "paused"
    scene.workers.verdict = lambda _document: GOOD
    scene.turns()
    assert (restart.progress, scene.state()) == ("paused", State.PAUSED)


def test_the_opposite_order_ends_the_one_before(scene: Scene) -> None:
    (worker,) = scene.workers.at_work()
    worker.send = lambda _command: None  # type: ignore[method-assign]
    pause = scene.order(Verb.PAUSE)
    assert scene.order(Verb.RESUME).problem is None
    assert refused(pause) == "pipeline `orders` has been told to resume in between"


# Reload


def hang_up(scene: Scene) -> None:
    scene.daemon._on_hangup(signal.SIGHUP, None)
    scene.turns()


def everything(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(capsys.readouterr())


def test_a_reload_restarts_every_pipeline_and_begins_new_ones(scene: Scene) -> None:
    scene.write("orders", topic="second")
    scene.write("bills", topic="third")
    hang_up(scene)
    assert sorted(scene.topics()) == ["second", "third"]
    assert scene.daemon._look().rates["bills"].records_in > 0
    scene.write("bills", topic="fourth")
    assert scene.order(Verb.RESTART, "bills").progress == "running"
    assert sorted(scene.topics()) == ["fourth", "second"]


def test_a_bad_file_keeps_no_other_from_being_reloaded(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.write("bills", topic="third")
    hang_up(scene)
    scene.write("orders", topic="second")
    (scene.folder / "bills.yaml").write_text("name: [")
    (scene.folder / "worse.yaml").write_text("name: [")
    hang_up(scene)
    assert sorted(scene.topics()) == ["second", "third"]
    said = everything(capsys)
    assert "bills.yaml" in said
    assert "worse.yaml" in said
    bills = scene.daemon._pipelines["bills"].status()
    assert "bills.yaml" in (bills.trouble or "")
    assert scene.trouble() is None


def test_a_reload_refuses_other_names_and_names_that_are_taken(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.write("bills", file="orders")
    hang_up(scene)
    assert scene.topics() == ["first"]
    assert "calls its pipeline `bills` now" in everything(capsys)
    scene.write("orders")
    scene.write("orders", topic="second", file="a-copy")
    hang_up(scene)
    assert scene.topics() == ["first"]
    assert "a-copy.yaml" in everything(capsys)


def test_a_file_that_was_moved_is_still_its_pipelines(scene: Scene) -> None:
    (scene.folder / "orders.yaml").unlink()
    scene.write("orders", topic="second", file="elsewhere")
    hang_up(scene)
    assert scene.topics() == ["second"]
    scene.write("orders", topic="third", file="elsewhere")
    assert scene.order(Verb.RESTART).problem is None
    assert scene.topics() == ["third"]


def test_a_file_that_is_gone_stops_nothing(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    (scene.folder / "orders.yaml").unlink()
    hang_up(scene)
    assert scene.topics() == ["first"]
    assert "its file is gone" in everything(capsys)


def test_a_reload_leaves_paused_what_was_told_to_pause(scene: Scene) -> None:
    scene.order(Verb.PAUSE)
    scene.write("orders", topic="second")
    hang_up(scene)
    assert (scene.state(), scene.topics()) == (State.PAUSED, ["second"])


def test_a_stop_wins_over_a_reload(scene: Scene) -> None:
    scene.daemon._on_hangup(signal.SIGHUP, None)
    scene.daemon._on_signal(signal.SIGTERM, None)
    scene.turns()
    assert scene.daemon._is_over()


@pytest.fixture
def hangup_as_ever() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (1, 2, 15)]
    yield
    for number, action in before:
        signal.signal(number, action)


@pytest.mark.parametrize(
    ("until_end", "terminal", "stops"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
@pytest.mark.usefixtures("hangup_as_ever")
def test_a_hangup_ends_what_runs_in_a_terminal_or_to_the_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    until_end: bool,
    terminal: bool,
    stops: bool,
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    scene = Scene(tmp_path, FakeWorkers(monkeypatch))
    scene.daemon._folder.close()
    scene.daemon = scene.start(until_end=until_end)
    monkeypatch.setattr("kafka_etl.runtime.daemon.daemon.os.isatty", lambda _fd: terminal)
    scene.daemon.begin()
    scene.turns()
    os.kill(os.getpid(), signal.SIGHUP)
    scene.turns()
    assert scene.daemon._is_over() is stops
    assert len(scene.workers.alive()) == (0 if stops else 1)
    scene.daemon._folder.close()


@pytest.mark.usefixtures("hangup_as_ever")
def test_nohup_is_respected(scene: Scene) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    scene.daemon._expect_hangups()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
