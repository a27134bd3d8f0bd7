"""Processes of a pipeline as its daemon sees them: they do as they are told at once."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.config.document import Document
from kafka_etl.contracts import Guarantee, Label, Preflight
from kafka_etl.errors import Problem
from kafka_etl.runtime import child
from kafka_etl.runtime.daemon import preflight_process, slot
from kafka_etl.runtime.messages import Checked, Ended, PreflightTask, Snapshot, WorkerTask

GOOD = Checked(Preflight(), Label(Guarantee.EXACTLY_ONCE, "one transaction"))
_pids = itertools.count(900_001)


class FakeWorker:
    """One process: takes its tasks, and answers like a worker that has nothing in its way."""

    connection = None
    has_hung_up = False
    is_garbled = False

    def __init__(self, among: FakeWorkers) -> None:
        self.pid = next(_pids)
        self.task: WorkerTask | None = None
        self.checks: Document | None = None
        self.stays = False
        """Whether it takes its time when it is told to stop."""
        self.signals: list[int] = []
        self.counters = {("records_in", ""): 10.0, ("dead_letters", "DecodeError"): 1.0}
        self._among = among
        self._status: int | None = None
        self._said: list[Any] = []

    def send(self, said: Any) -> None:
        if isinstance(said, PreflightTask):
            self.checks = said.document
        elif isinstance(said, WorkerTask):
            self.task = said
            self.say("paused" if said.paused else "running")
        else:
            self.say({"pause": "paused", "resume": "running"}[said])

    def say(self, state: Any, problem: Problem | None = None, at_ms: int = 0) -> None:
        self._said.append(Snapshot(state, at_ms, self.counters, joined=True, problem=problem))

    def received(self) -> list[Any]:
        answer = self._among.verdict(self.checks) if self.checks is not None else None
        if answer is not None:
            self.checks = None
            last_word = Ended("failed", Snapshot("starting", 0), answer)
            self._said.append(last_word if isinstance(answer, Problem) else answer)
        said, self._said = self._said, []
        return said

    def leave(self, problem: Problem | None = None) -> None:
        self._said.append(
            Ended(
                "failed" if problem else "drained", Snapshot("draining", 0, self.counters), problem
            )
        )
        self._status = 0

    def die(self) -> None:
        self._status = -9

    def kill(self) -> None:
        self.die()

    def signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.die()
        elif not self.stays:
            self.leave()

    def exit_status(self) -> int | None:
        return self._status

    def end(self) -> str:
        self.die()
        return ""

    def close(self) -> None: ...


class FakeWorkers:
    """Stands in for every process that a daemon starts.

    Attributes:
        verdict: What preflight says of a file; None: nothing yet.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.verdict: Callable[[Document], Checked | Problem | None] = lambda _document: GOOD
        self.all: list[FakeWorker] = []
        for module in (child, preflight_process, slot):
            monkeypatch.setattr(module, "Child", self._start)

    def at_work(self) -> list[FakeWorker]:
        """Those that run and have a worker's task."""
        return [w for w in self.all if w.exit_status() is None and w.task is not None]

    def alive(self) -> list[FakeWorker]:
        return [worker for worker in self.all if worker.exit_status() is None]

    def _start(self, _module: str) -> FakeWorker:
        worker = FakeWorker(self)
        self.all.append(worker)
        return worker


def in_file(worker: FakeWorker) -> tuple[Path, Any]:
    """The file that a worker runs, and the topic that its sink writes to."""
    assert worker.task is not None
    document = worker.task.document
    return document.path, document.data["sink"]["with"]["topic"]
