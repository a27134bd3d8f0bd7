"""What a daemon shows of its pipelines, and takes as orders, without any process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_etl.config.build import read_spec
from kafka_etl.config.load import load
from kafka_etl.dead_letters import Cause
from kafka_etl.errors import Fenced
from kafka_etl.runtime.daemon.daemon import (
    Daemon,
    DaemonOptions,
    Loaded,
    Rates,
    View,
    rates_of,
)
from kafka_etl.runtime.daemon.order import Order, Verb
from kafka_etl.runtime.daemon.state import HELD, OVER, State
from kafka_etl.runtime.daemon.version import RunOptions, member_id
from kafka_etl.runtime.messages import Ended, LogSettings, Snapshot, WorkerState
from tests.unit.config.project import pipeline
from tests.unit.runtime.orders import status

NAME = "orders"


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    path = tmp_path / "pipeline.yaml"
    path.write_text(pipeline(f"name: {NAME}"))
    (document,) = load([path], env={}, overrides={}).documents
    spec = read_spec(document)
    assert not isinstance(spec, list)
    return document, spec


@pytest.fixture
def seen() -> list[View]:
    return []


@pytest.fixture
def daemon(tmp_path: Path, loaded: Loaded, seen: list[View]) -> Iterator[Any]:
    options = DaemonOptions(
        run=RunOptions(until_end=False, workers=None, logs=LogSettings({})),
        state_folder=tmp_path / "state",
        instance="blue",
        reload=lambda _path: [loaded],
        reload_all=lambda: ([loaded], {}),
        look=seen.append,
    )
    daemon: Any = Daemon([loaded], options)
    yield daemon
    daemon._folder.close()


def test_a_pause_that_waits_for_its_pipeline_shows(daemon: Any) -> None:
    managed = daemon._pipelines[NAME]
    managed._checking = SimpleNamespace(trouble="no broker answers", child=None)
    assert not managed.status().to_be_paused
    managed.pause(Order(NAME, Verb.PAUSE))
    assert (managed.status().state, managed.status().to_be_paused) == (State.PREFLIGHT, True)
    managed._checking, managed._slots = None, [slot("", state="paused")]
    assert (managed.status().state, managed.status().to_be_paused) == (State.PAUSED, False)


def test_no_trouble_beside_the_error_that_ended_it(daemon: Any) -> None:
    managed = daemon._pipelines[NAME]
    managed._slots = [slot(trouble := "the registry is away")]
    assert managed.status().trouble == trouble
    managed._fail(Fenced("twice").problem)
    assert (managed.status().trouble, managed.status().problem) == (None, Fenced("twice").problem)


def test_the_end_that_one_worker_has_reached_is_that_of_all(daemon: Any) -> None:
    """Another may wait for its place in the group until the session of the first is over."""
    drained: list[str] = []
    waits = slot("")
    waits.drain = lambda: drained.append("waits")
    managed = daemon._pipelines[NAME]
    managed._slots = [waits]
    managed._stop_together()
    assert drained == []
    done = slot("")
    done.ended = Ended("finished", done.snapshot)
    managed._slots = [waits, done]
    managed._stop_together()
    assert drained == ["waits"]
    waits.ended, waits.over, done.over = Ended("drained", waits.snapshot), True, True
    assert managed.status().state is State.FINISHED


@pytest.mark.parametrize(
    ("state", "until_end", "expected"),
    [
        (State.STOPPED, True, 143),
        (State.STOPPED, False, 0),
        (State.FINISHED, True, 0),
        (State.FAILED, True, 1),
    ],
)
def test_a_run_to_the_end_that_is_stopped_before_it_says_so(
    daemon: Any, state: State, expected: int, *, until_end: bool
) -> None:
    run = replace(daemon._options.run, until_end=until_end)
    daemon._options = replace(daemon._options, run=run)
    problem = Fenced("twice").problem if state is State.FAILED else None
    daemon._view = View(0, "blue", {NAME: status(NAME, state=state, problem=problem)}, {})
    daemon._on_signal(15, None)
    assert daemon._exit_status() == expected


def slot(trouble: str, state: WorkerState = "running", *, joined: bool = True) -> SimpleNamespace:
    return SimpleNamespace(
        trouble=trouble,
        snapshot=Snapshot(state, 0, trouble=trouble),
        child=None,
        over=False,
        joined=joined,
        ended=None,
        counters=dict[Any, float],
        causes=tuple[Cause, ...],
        drain=lambda: None,
    )


class Dead:
    """A process that has hung up."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.mailbox = SimpleNamespace(fileno=lambda: pid, is_closed=True)


class Dying:
    """A pipeline whose worker is another at every look."""

    begins_again = False

    def __init__(self, tick: Callable[[float], None]) -> None:
        self.tick = tick
        self.pids = iter([1, 2, 3])
        self.is_over = False

    @property
    def listeners(self) -> dict[Any, Any]:
        pid = next(self.pids, None)
        self.is_over = pid is None
        return {Dead(pid): lambda: True} if pid else {}

    def status(self) -> Any:
        return status(NAME)


def test_a_death_is_seen_at_once(
    daemon: Any, seen: list[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_etl.runtime.daemon.daemon._LOOP", 0)
    monkeypatch.setattr("kafka_etl.runtime.daemon.daemon._LOOK_EVERY", 3600)
    daemon._pipelines = {NAME: Dying(lambda _now: None)}
    assert daemon.run() == 0
    assert len(seen) == 5


@pytest.mark.parametrize("state", sorted(HELD | OVER))
def test_what_is_held_or_over_has_no_rate_any_more(state: State) -> None:
    before, now = status("orders", counters={}), status("orders")
    assert rates_of(before, now, 2.0) == Rates(500.0, 495.0)
    assert rates_of(before, replace(now, state=state), 2.0) == Rates(0.0, 0.0)


def test_counts_that_begin_anew_are_no_rate_below_none() -> None:
    before, now = status("orders"), status("orders", counters={})
    assert rates_of(before, now, 2.0) == Rates(0.0, 0.0)


def test_a_pipeline_that_fails_does_not_keep_systemd_waiting() -> None:
    failed = status("a", state=State.FAILED, joined=False)
    starting = status("b", state=State.STARTING, joined=False)
    assert View(0, "blue", {"a": failed, "c": status("c")}, {}).has_started
    assert not View(0, "blue", {"a": failed, "c": status("c")}, {}).ready
    assert not View(0, "blue", {"a": failed, "b": starting}, {}).has_started


def test_no_two_workers_have_one_id() -> None:
    """Both would be thrown out by the other for ever."""
    pipelines = ["a", "a.b", "a.b.c", "a.i", "a..b", "b"]
    instances = ["a", "a.b", "b.c", "c", "I", "I.b", "I.b.c", "a..b", "b", "I.I"]
    workers: list[int | str] = [0, 10, "preflight"]
    ids = {member_id(p, i, w) for p in pipelines for i in instances for w in workers}
    assert len(ids) == len(pipelines) * len(instances) * len(workers)
    assert member_id("orders.eur", "host-1a2b3c", 0) == "kafka-etl.orders.eur.host-1a2b3c.0"


@pytest.mark.parametrize(
    ("joined", "all_of_them"),
    [([], False), ([True, True], True), ([True, False], False), ([False, False], False)],
)
def test_a_pipeline_is_in_its_group_when_all_its_workers_are(
    daemon: Any, joined: list[bool], *, all_of_them: bool
) -> None:
    """It was said to be with 63 of 64 workers down."""
    managed = daemon._pipelines[NAME]
    managed._slots = [slot("", joined=of_worker) for of_worker in joined]
    assert managed.status().joined is all_of_them
