"""One pipeline under the daemon: preflight, its workers, and the state it is in as a whole."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kafka_etl.config.document import Document
from kafka_etl.config.model import PipelineSpec
from kafka_etl.contracts import Guarantee, Position, Preflight
from kafka_etl.dead_letters import Cause, Causes
from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.errors import BreakerTripped, Fenced, Problem, WorkerUnstable
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters
from kafka_etl.record import Partition
from kafka_etl.runtime.child import WORKER, Child
from kafka_etl.runtime.daemon.preflight_process import PreflightProcess
from kafka_etl.runtime.daemon.slot import Watch, WorkerSlot
from kafka_etl.runtime.daemon.state_folder import StateFolder
from kafka_etl.runtime.messages import Checked, LogSettings, PreflightTask, WorkerTask

_APP: Final = "kafka-etl"
_GRACE: Final = 3.0
"""Seconds a worker gets beyond its drain timeout before it is killed."""
_GIVE_UP_AFTER: Final = 10
"""Deaths in a row after which a run that should end by itself is given up."""


class State(StrEnum):
    """What a pipeline is doing."""

    PREFLIGHT = "preflight"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    BREAKER = "paused: breaker"
    DRAINING = "draining"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    FENCED = "fenced"


HELD: Final = frozenset({State.PAUSED, State.BREAKER})
OVER: Final = frozenset({State.FINISHED, State.STOPPED, State.FAILED, State.FENCED})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a daemon runs its pipelines."""

    until_end: bool
    workers: int | None
    logs: LogSettings


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """A pipeline at one moment, for people and metrics.

    Attributes:
        counters: (metric, label value) -> count since the daemon began.
        positions: Of the partitions assigned to this daemon's workers.
        to_be_paused: Whether a pause was ordered that does not show in its state yet.
        causes: Why records became dead letters, the commonest first.
        file: The pipeline's.
        trouble: What is in the way, as the workers tell; nothing of it once it has stopped.
        problem: Why it paused or stopped.
    """

    name: str
    state: State
    guarantee: Guarantee | None
    workers: int
    joined: bool
    counters: Mapping[tuple[str, str], float]
    positions: Mapping[Partition, Position]
    trouble: str | None
    problem: Problem | None
    to_be_paused: bool = False
    causes: tuple[Cause, ...] = ()
    file: str = ""

    @property
    def lag_records(self) -> int | None:
        """None: unknown, before the group has given partitions and brokers have told their ends."""
        lags = [position.lag for position in self.positions.values()]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if known and len(known) == len(lags) else None

    def lag_seconds(self, now: float) -> float | None:
        """Age of the last settled record of the partition that is furthest behind; 0: none is."""
        if self.lag_records is None:
            return None
        behind = [
            now - position.timestamp_ms / 1000
            for position in self.positions.values()
            if position.lag and position.timestamp_ms > 0
        ]
        return max(behind, default=0.0)

    def count(self, metric: str) -> float:
        """A counter, over all its label values."""
        return sum(value for (name, _), value in self.counters.items() if name == metric)


class ManagedPipeline:
    """Brings one pipeline up, keeps it up, and takes it down."""

    def __init__(
        self, document: Document, spec: PipelineSpec, folder: StateFolder, options: RunOptions
    ) -> None:
        self._document = document
        self._spec = spec
        self._folder = folder
        self._options = options
        self._log = get_logger("daemon", pipeline=spec.name)
        self._checking: PreflightProcess | None = None
        self._checked: Checked | None = None
        self._warm: list[Child] = []
        self._slots: list[WorkerSlot] = []
        self._paused = False
        self._draining_since: float | None = None
        self._problem: Problem | None = None
        self._next: tuple[Document, PipelineSpec] | None = None
        self.name = spec.name

    # Orders

    def begin(self) -> None:
        """Start with preflight; workers follow when it finds nothing wrong."""
        self._problem = None
        self._checked = None
        self._draining_since = None
        self._slots = []
        first, *self._warm = [Child(WORKER) for _ in range(self._worker_count)]
        task = PreflightTask(self._document, self._member("preflight"), self._options.logs)
        give_up_after = _GIVE_UP_AFTER if self._options.until_end else None
        self._checking = PreflightProcess(task, first, give_up_after, self._log)

    def pause(self) -> None:
        self._paused = True
        self._tell("pause")

    def resume(self) -> None:
        self._paused = False
        self._tell("resume")

    def restart(self, document: Document, spec: PipelineSpec) -> None:
        """Drain, then begin anew with what the file says now."""
        self._next = document, spec
        self._paused = False
        self.drain()

    def drain(self) -> None:
        """Let the workers finish what is in hand, and stop."""
        if self._draining_since is None:
            self._draining_since = time.monotonic()
            for slot in self._slots:
                slot.drain()
            if self._checking is not None:
                self._checking.end()
            for child in self._warm:
                child.end()
            self._warm = []
            self._checking = None

    def kill(self) -> None:
        """Stop at once."""
        self.drain()
        for slot in self._slots:
            slot.kill()

    # Life

    def tick(self, now: float) -> None:
        """Do whatever is due."""
        if self._checking is not None:
            self._hear_preflight(self._checking, now)
        for slot in self._slots:
            slot.tick(now)
        self._stop_together()
        if self._draining_since is not None:
            if now - self._draining_since > self._spec.drain_timeout + _GRACE:
                for slot in self._slots:
                    slot.kill()
            if self._next is not None and self.is_over:
                (self._document, self._spec), self._next = self._next, None
                self.begin()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs, and nothing will without an order."""
        return self._checking is None and all(slot.over for slot in self._slots)

    @property
    def begins_again(self) -> bool:
        """Whether it was told to restart and only waits for its workers to be gone."""
        return self._next is not None

    @property
    def children(self) -> list[Child]:
        """Its processes."""
        children = [slot.child for slot in self._slots]
        if self._checking is not None:
            children.append(self._checking.child)
        return [child for child in children if child is not None]

    def status(self) -> PipelineStatus:
        """How it stands."""
        counters = Counters()
        causes = Causes()
        positions: dict[Partition, Position] = {}
        for slot in self._slots:
            counters.include(slot.counters())
            causes.include(slot.causes())
            if slot.snapshot is not None:
                positions.update(slot.snapshot.positions)
        said = [slot.snapshot for slot in self._slots if slot.snapshot is not None]
        troubles = [slot.trouble for slot in self._slots]
        if self._checking is not None:
            troubles.append(self._checking.trouble)
        state = self._state()
        return PipelineStatus(
            name=self.name,
            state=state,
            guarantee=self._checked.guarantee if self._checked else None,
            workers=sum(slot.child is not None for slot in self._slots),
            joined=bool(self._slots) and all(s.joined for s in said) and len(said) > 0,
            counters=counters.snapshot(),
            positions=positions,
            trouble=None if self._problem else next(filter(None, troubles), None),
            problem=self._problem or next((s.problem for s in said if s.problem), None),
            to_be_paused=self._paused and state not in HELD | OVER,
            causes=causes.commonest(),
            file=str(self._document.path),
        )

    # Parts

    def _state(self) -> State:
        if self._checking is not None:
            return State.PREFLIGHT
        if self.is_over:
            return self._final_state()
        if self._draining_since is not None:
            return State.DRAINING
        said = [slot.snapshot for slot in self._slots if slot.snapshot is not None]
        paused = [s.problem for s in said if s.state == "paused"]
        if any(problem and problem.code == BreakerTripped.code for problem in paused):
            return State.BREAKER
        if paused:
            return State.PAUSED
        return State.RUNNING if any(s.state == "running" for s in said) else State.STARTING

    def _final_state(self) -> State:
        if self._problem is not None:
            return State.FENCED if self._problem.code == Fenced.code else State.FAILED
        return State.FINISHED if self._has_finished else State.STOPPED

    @property
    def _has_finished(self) -> bool:
        """Whether a worker says that the end is reached: it asks after the partitions of all."""
        return any(slot.ended is not None and slot.ended.how == "finished" for slot in self._slots)

    def _hear_preflight(self, checking: PreflightProcess, now: float) -> None:
        answer = checking.answer(now)
        if isinstance(answer, Problem):
            self._fail(answer)
        elif answer is not None and checking.child is not None:
            self._checking = None
            self._checked = answer
            for note in answer.preflight.notes:
                self._log.info(note)
            self._log.info("starts", guarantee=answer.guarantee, workers=self._worker_count)
            children = [checking.child, *self._warm]
            self._slots = [
                self._slot(n, answer.preflight, child) for n, child in enumerate(children)
            ]
            self._warm = []

    def _slot(self, number: int, preflight: Preflight, child: Child) -> WorkerSlot:
        recorder = self._folder.recorder(self.name, number)

        def make_task(evidence: Evidence | None) -> WorkerTask:
            return WorkerTask(
                document=self._document,
                worker=number,
                member=self._member(number),
                recorder=recorder,
                preflight=preflight,
                until_end=self._options.until_end,
                evidence=evidence,
                paused=self._paused,
                logs=self._options.logs,
            )

        operators = [(use.label, use.timeout) for use in self._spec.operators]
        return WorkerSlot(make_task, recorder, Watch(operators), child, self._log)

    def _stop_together(self) -> None:
        """One worker that failed for good stops the others: they would fail at the same place.

        One that has reached the end does, too: another may still wait to be let into the group,
        which takes until the session of the first one is over.
        """
        for slot in self._slots:
            if slot.ended is not None and slot.ended.problem is not None:
                self._fail(slot.ended.problem)
        if self._has_finished:
            self.drain()
        if self._options.until_end:
            for slot in self._slots:
                if slot.unexplained_deaths >= _GIVE_UP_AFTER and not slot.over:
                    times = f"{_GIVE_UP_AFTER} times in a row"
                    what = f"a worker of {self.name} died {times} without a commit in between"
                    self._fail(WorkerUnstable(what).problem)

    def _fail(self, problem: Problem) -> None:
        if self._problem is None:
            self._problem = problem
            self._log.error("failed", code=problem.code, error=problem.what)
            self.drain()

    def _tell(self, command: str) -> None:
        for slot in self._slots:
            slot.send(command)

    @property
    def _worker_count(self) -> int:
        return self._options.workers or self._spec.workers

    def _member(self, worker: int | str) -> str:
        """Stays the same over restarts."""
        return f"{_APP}.{self.name}.{self._folder.instance}.{worker}"
