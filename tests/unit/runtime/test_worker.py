"""What a worker makes of what its engine says. The engine is made up, and nothing is connected."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import pytest

from kafka_etl.config.build import build
from kafka_etl.config.load import load
from kafka_etl.contracts import Abandoned, Preflight, Reconnect
from kafka_etl.engine.poison.breaker import Breaker, BreakerLimits
from kafka_etl.engine.poison.kinds import Kinds
from kafka_etl.envelope import fingerprint_of_failure
from kafka_etl.errors import (
    BreakerTripped,
    DeadLetterRefused,
    KafkaEtlError,
    RecordFailed,
    RegistryRefused,
    SchemaMissing,
    SchemaRefused,
)
from kafka_etl.invocation import Condition, ErrorInfo, Failure
from kafka_etl.plugins import PluginRegistry
from kafka_etl.runtime.messages import Ended, LogSettings, WorkerTask
from kafka_etl.runtime.worker import assemble
from kafka_etl.runtime.worker.commit_thread import CommitThread
from kafka_etl.runtime.worker.worker import Worker
from kafka_etl.testing import StoredRecord
from tests.unit.config.project import pipeline


class Engine:
    """Does what it is told, once each, and then nothing."""

    def __init__(self, *deeds: Callable[[], None]) -> None:
        self.deeds = list(deeds)
        self.calls: list[str] = []
        self.at_end: Callable[[], None] = lambda: None

    def step(self) -> None:
        self.calls.append("step")
        if self.deeds:
            self.deeds.pop(0)()

    def idle(self) -> None:
        self.calls.append("idle")

    def end(self) -> None:
        self.calls.append("end")
        self.at_end()


def raising(error: BaseException) -> Callable[[], None]:
    def deed() -> None:
        raise error

    return deed


Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_it(engine: Engine, *, until_end: bool = False) -> Any:
        path = tmp_path / "pipeline.yaml"
        path.write_text(pipeline())
        (document,) = load([path], env={}, overrides={}).documents
        task = WorkerTask(
            document,
            worker=0,
            member="orders-eur.0",
            recorder=tmp_path / "recorder",
            preflight=Preflight(),
            until_end=until_end,
            evidence=None,
            paused=False,
            logs=LogSettings({}),
        )
        ours, daemon = Pipe()
        worker: Any = Worker(build(document, PluginRegistry.installed()), task, ours)
        worker.daemon = daemon  # else its end would be seen as the daemon's
        worker._engine = engine
        return worker

    return make_it


@pytest.mark.parametrize(
    "error", [SchemaMissing, RegistryRefused, SchemaRefused, BreakerTripped, DeadLetterRefused]
)
def test_what_can_be_mended_outside_pauses_until_resume(
    make: Make, error: type[KafkaEtlError]
) -> None:
    engine = Engine(raising(error("so it is")))
    worker = make(engine)
    passes: list[bool] = []
    worker._breaker.let_pass = lambda: passes.append(True)
    worker._trouble.note("what is now the problem")
    worker._turn()
    said = worker._snapshot()
    assert (said.state, said.problem) == ("paused", error("so it is").problem)
    assert said.trouble is None
    worker._turn()
    worker._obey("resume")
    worker._state = "running"
    assert (worker._snapshot().state, worker._snapshot().problem) == ("running", None)
    worker._turn()
    assert engine.calls == ["step", "idle", "step"]
    assert bool(passes) is (error is BreakerTripped)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_new_kind_that_is_another_workers_old_one_pauses_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    failure = Failure(0, Condition.OPERATOR_ERROR, ErrorInfo("E", "m"))
    known = {fingerprint_of_failure(failure)} if elsewhere else set[str]()
    monkeypatch.setattr(assemble, "kinds_so_far", lambda _pipeline: known)
    worker = make(Engine(raising(BreakerTripped("a new kind"))))
    worker._kinds = Kinds(lambda: True)
    worker._breaker = Breaker(BreakerLimits(), worker._kinds)
    assert worker._breaker.trips([StoredRecord(b"")], [failure])
    worker._turn()
    assert worker._snapshot().state == ("starting" if elsewhere else "paused")


@pytest.mark.parametrize("error", [SchemaMissing, BreakerTripped])
def test_until_the_end_nobody_is_there_to_resume(make: Make, error: type[KafkaEtlError]) -> None:
    with pytest.raises(error):
        make(Engine(raising(error("so it is"))), until_end=True)._turn()


def test_what_cannot_be_mended_ends_it(make: Make) -> None:
    engine = Engine(raising(RecordFailed("bad")))
    ended = make(engine).run()
    assert (ended.how, ended.problem) == ("failed", RecordFailed("bad").problem)
    assert engine.calls == ["step", "end"]


@pytest.mark.parametrize("stop", [lambda: None, raising(Abandoned())])
def test_the_last_word_counts_what_was_under_way(make: Make, stop: Callable[[], None]) -> None:
    def stopping() -> None:
        worker.stop()
        stop()

    engine = Engine(stopping)
    engine.at_end = lambda: worker._counters.add("commits")
    worker = make(engine)
    ended: Ended = worker.run()
    assert (ended.how, ended.snapshot.counters["commits", ""]) == ("drained", 1)


def test_a_source_goes_when_nothing_is_under_way_any_more(make: Make) -> None:
    engine = Engine(raising(Reconnect("of no use")))
    worker = make(engine)
    worker._turn()
    assert engine.calls == ["step", "end"]
    assert worker._engine is None


# The thread of commits


def test_one_thread_alone_talks_to_the_daemon(make: Make) -> None:
    """Another would describe the source while it changes, and overwrite what the first is about."""
    worker = make(Engine())
    talking: list[str] = []
    worker._talk = lambda: talking.append(current_thread().name)
    worker._recorder.tick = worker._talk

    def commit() -> float:
        worker._pulse("committing: slow")
        return 1.0

    assert worker._commit_thread.submit(commit).result() == 1.0
    assert worker._trouble.said.startswith("committing: slow (since ")
    assert "commit" not in talking
    worker._pulse("committing: slow")
    assert talking
    worker._close()


def test_a_commit_that_takes_too_long_is_abandoned(make: Make) -> None:
    worker = make(Engine())
    worker._drain_by = time.monotonic() - 1
    outcome = worker._commit_thread.submit(lambda: worker._pulse("committing: slow"))
    with pytest.raises(Abandoned):
        outcome.result()
    worker._close()


def test_whoever_waits_does_something_meanwhile() -> None:
    waited = Event()
    committer = CommitThread(waited.set)
    outcome = committer.submit(lambda: float(waited.wait(10)))
    assert not outcome.ended(0.01)
    assert outcome.result() == 1.0
    failing = committer.submit(raising(TimeoutError("its own")))
    with pytest.raises(TimeoutError, match="its own"):
        failing.result()
    committer.close()
