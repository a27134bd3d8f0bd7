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
from kafka_etl.errors import Fenced, OrderRefused
from kafka_etl.runtime.daemon.daemon import Daemon, DaemonOptions, Loaded, Verb, View
from kafka_etl.runtime.daemon.pipelines import RunOptions, State
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
        reload=lambda _path: loaded,
        look=seen.append,
    )
    daemon: Any = Daemon([loaded], options)
    yield daemon
    daemon._folder.close()


def show(daemon: Any, state: State) -> None:
    daemon._view = View(0, "blue", {NAME: status(NAME, state=state)}, {})


@pytest.mark.parametrize("state", [State.RUNNING, State.PREFLIGHT, State.STARTING, State.DRAINING])
def test_what_is_not_paused_cannot_be_resumed(daemon: Any, state: State) -> None:
    show(daemon, state)
    with pytest.raises(OrderRefused, match=f"`orders` is not paused: it is {state}"):
        daemon.order(NAME, Verb.RESUME)
    assert daemon._orders.empty()


@pytest.mark.parametrize("state", [State.FAILED, State.STOPPED])
def test_what_has_stopped_is_to_be_restarted(daemon: Any, state: State) -> None:
    show(daemon, state)
    with pytest.raises(OrderRefused) as refused:
        daemon.order(NAME, Verb.RESUME)
    assert refused.value.next_step == "`kafka-etl restart orders` starts it anew."


@pytest.mark.parametrize("state", [State.FAILED, State.STOPPED, State.FENCED, State.DRAINING])
def test_what_comes_to_its_end_cannot_be_paused(daemon: Any, state: State) -> None:
    show(daemon, state)
    with pytest.raises(OrderRefused, match=f"`orders` cannot be paused: it is {state}"):
        daemon.order(NAME, Verb.PAUSE)
    assert daemon._orders.empty()
    with pytest.raises(OrderRefused):  # nor has it been noted
        daemon.order(NAME, Verb.RESUME)


def test_what_begins_again_may_be_paused_before_it_does(daemon: Any, loaded: Loaded) -> None:
    daemon._pipelines[NAME].restart(*loaded)
    show(daemon, State.DRAINING)
    daemon.order(NAME, Verb.PAUSE)
    assert not daemon._orders.empty()


def test_a_pause_that_waits_for_its_pipeline_shows(daemon: Any) -> None:
    managed = daemon._pipelines[NAME]
    managed._checking = SimpleNamespace(trouble="no broker answers", child=None)
    assert not managed.status().to_be_paused
    managed.pause()
    assert (managed.status().state, managed.status().to_be_paused) == (State.PREFLIGHT, True)
    managed._checking, managed._slots = None, [slot("", state="paused")]
    assert (managed.status().state, managed.status().to_be_paused) == (State.PAUSED, False)


@pytest.mark.parametrize("state", [State.PAUSED, State.BREAKER])
def test_what_is_paused_is_resumed(daemon: Any, state: State) -> None:
    show(daemon, state)
    daemon.order(NAME, Verb.RESUME)
    assert not daemon._orders.empty()


def test_a_pause_counts_before_it_shows(daemon: Any) -> None:
    show(daemon, State.RUNNING)
    daemon.order(NAME, Verb.PAUSE)
    daemon.order(NAME, Verb.RESUME)
    with pytest.raises(OrderRefused):
        daemon.order(NAME, Verb.RESUME)
    daemon.order(NAME, Verb.PAUSE)
    daemon.order(NAME, Verb.RESTART)
    with pytest.raises(OrderRefused):
        daemon.order(NAME, Verb.RESUME)


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


def slot(trouble: str, state: WorkerState = "running") -> SimpleNamespace:
    return SimpleNamespace(
        trouble=trouble,
        snapshot=Snapshot(state, 0, trouble=trouble),
        child=None,
        over=False,
        joined=True,
        ended=None,
        counters=dict[Any, float],
        causes=tuple[Cause, ...],
        drain=lambda: None,
    )


class Dying:
    """A pipeline whose worker is another at every look."""

    begins_again = False

    def __init__(self, tick: Callable[[float], None]) -> None:
        self.tick = tick
        self.pids = iter([1, 2, 3])
        self.is_over = False

    @property
    def children(self) -> list[Any]:
        pid = next(self.pids, None)
        self.is_over = pid is None
        return [SimpleNamespace(pid=pid, connection=None)] if pid else []

    def status(self) -> Any:
        return status(NAME)


def test_a_death_is_seen_at_once(
    daemon: Any, seen: list[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_etl.runtime.daemon.daemon.wait", lambda _connections, _seconds: None)
    monkeypatch.setattr("kafka_etl.runtime.daemon.daemon._LOOK_EVERY", 3600)
    daemon._pipelines = {NAME: Dying(lambda _now: None)}
    assert daemon.run() == 0
    assert len(seen) == 5
