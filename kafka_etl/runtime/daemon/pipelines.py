"""One pipeline under the daemon: its preflight, its workers, its orders and its state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kafka_etl.contracts import Label, Preflight
from kafka_etl.dead_letters import Cause, Causes
from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.errors import Fenced, Problem, WorkerUnstable
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters, gauges_of_all
from kafka_etl.runtime.child import Child, worker_in_advance
from kafka_etl.runtime.daemon.keeper_process import KeeperProcess
from kafka_etl.runtime.daemon.new_version import NewVersion
from kafka_etl.runtime.daemon.order import Order
from kafka_etl.runtime.daemon.pending_orders import Outlook, PendingOrders, advice
from kafka_etl.runtime.daemon.preflight_process import PreflightProcess
from kafka_etl.runtime.daemon.slot import WorkerSlot
from kafka_etl.runtime.daemon.state import HELD, OVER, State, state_of
from kafka_etl.runtime.daemon.version import Version
from kafka_etl.runtime.messages import Checked, Standing, WorkerTask
from kafka_etl.runtime.tasks.requests import TaskDoor

_GRACE: Final = 3.0
"""Seconds beyond the drain timeout after which the daemon kills a worker."""
_GIVE_UP_AFTER: Final = 10
"""Deaths in a row after which a run with `--until-end`, or a new version's preflight, fails."""


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """The status of a pipeline at one moment, for people and metrics.

    Attributes:
        name: Name of the pipeline.
        state: State of the pipeline as a whole.
        label: Guarantee of the pipeline, and what limits it; None until preflight has succeeded.
        workers: Number of workers' processes.
        joined: Whether every worker runs and is a member of its group.
        counters: (metric, label value) -> count since the daemon began.
        standing: Progress of the partitions that are assigned to this daemon's workers.
        trouble: Obstacle that preflight or a worker waits for, or the reason why a restart failed;
            None: no obstacle, or a problem has stopped the pipeline.
        problem: Problem that paused or stopped the pipeline; None: there is none.
        to_be_paused: Whether a pause was ordered that the state does not show yet.
        causes: Causes of dead letters, the commonest first.
        file: Path of the pipeline file.
        letters: Where dead letters go, in words; empty: nowhere.
        gauges: (metric, label value) -> present value, of all workers together.
        door: How one reaches the tasks that the pipeline owns; None: it owns none.
    """

    name: str
    state: State
    label: Label | None
    workers: int
    joined: bool
    counters: Mapping[tuple[str, str], float]
    standing: Standing
    trouble: str | None
    problem: Problem | None
    to_be_paused: bool = False
    causes: tuple[Cause, ...] = ()
    file: str = ""
    letters: str = ""
    gauges: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    door: TaskDoor | None = field(default=None, repr=False)

    @property
    def lag_records(self) -> int | None:
        """Lag of all partitions, in records; None until partitions and their ends are known."""
        return self.standing.lag

    def lag_seconds(self, now: float) -> float | None:
        """Return the age, in seconds, of the time up to which all partitions are settled.

        0: no partition has a lag. None: the lag is unknown.

        Args:
            now: Present time, in seconds since the epoch.
        """
        settled_to_ms = self.standing.settled_to_ms
        if self.lag_records is None:
            return None
        return 0.0 if settled_to_ms is None else max(0.0, now - settled_to_ms / 1000)

    def count(self, metric: str) -> float:
        """Return a counter, summed over all its label values."""
        return sum(value for (name, _), value in self.counters.items() if name == metric)


class ManagedPipeline:
    """Starts, supervises, restarts and stops one pipeline.

    All methods are called by the daemon's main loop, in the main thread. None of them waits for a
    worker.
    """

    def __init__(self, version: Version) -> None:
        self._version = version
        self._log = get_logger("daemon", pipeline=version.spec.name)
        self._checking: PreflightProcess | None = None
        self._checked: Checked | None = None
        self._warm: list[Child | None] = []
        self._slots: list[WorkerSlot] = []
        self._keeper: KeeperProcess | None = None
        self._paused = False
        self._draining_since: float | None = None
        self._problem: Problem | None = None
        self._past = Counters()
        self._new: NewVersion | None = None
        self._refusal: str | None = None
        self._orders = PendingOrders()
        self.name = version.spec.name

    # Orders

    def begin(self) -> None:
        """Begin the preflight; the workers start once the preflight has succeeded."""
        self._forget_slots()
        self._checked = None
        first, *self._warm = [worker_in_advance() for _ in range(self._version.workers)]
        give_up_after = _GIVE_UP_AFTER if self._version.options.until_end else None
        task = self._version.preflight_task()
        self._checking = PreflightProcess(task, first, give_up_after, self._log)

    def pause(self, order: Order) -> None:
        """Pause the workers; the workers of a new version under way begin paused, too."""
        ends = self.state in OVER or self.state is State.DRAINING
        if ends and not self.begins_again:
            order.refuse(f"cannot be paused: it is {self.state}", advice(order, self.state))
        else:
            self._set_paused(order, paused=True)

    def resume(self, order: Order) -> None:
        """Resume the workers."""
        if self.state in OVER or not (self._paused or self.state in HELD):
            order.refuse(f"is not paused: it is {self.state}", advice(order, self.state))
        else:
            self._set_paused(order, paused=False)

    def restart(self, version: Version, order: Order) -> None:
        """Begin the preflight of a new version beside the running one; `tick` swaps the versions.

        A pipeline that has ended begins anew with the new version at once.
        """
        self._orders.settle(self._outlook(restarts_again=True))
        self._drop_new("is restarted by another order")
        self._refusal = None
        self._orders.restart = order
        if version.group != self._version.group:
            said = f"reads in group `{version.group}` from now on, not in `{self._version.group}`"
            order.notes = (said,)
        paused = order.keeps_pause and self._paused
        if self.is_over:
            self._version, self._paused = version, paused
            self.begin()
            return
        order.progress = "checking the new version"
        task = version.preflight_task()
        checking = PreflightProcess(task, worker_in_advance(), _GIVE_UP_AFTER, self._log)
        self._new = NewVersion(version, order, checking, paused)

    def refuse(self, problem: Problem) -> None:
        """Note why a restart failed: the pipeline goes on, and shows the reason as its trouble."""
        self._log.error("not restarted", code=problem.code, error=problem.what)
        self._refusal = problem.what

    def stop(self, *, at_once: bool = False) -> None:
        """Refuse the pending orders and drain; `at_once` kills the workers instead.

        Where attempts at tasks may end, the first order `at_once` interrupts them.
        """
        self._drop_new("is being stopped")
        self.drain()
        if at_once and not (self._keeper is not None and self._keeper.interrupt()):
            if self._keeper is not None:
                self._keeper.kill()
            for slot in self._slots:
                slot.kill()

    def drain(self) -> None:
        """Ask the workers to finish the records in hand and to end; stop a preflight."""
        if self._draining_since is None:
            self._draining_since = time.monotonic()
            if self._keeper is not None:
                self._keeper.stop()  # its last words still need the workers
            else:
                self._drain_slots()
            if self._checking is not None:
                self._checking.end()
            for child in filter(None, self._warm):
                child.end()
            self._warm = []
            self._checking = None

    def _drain_slots(self) -> None:
        for slot in self._slots:
            slot.drain()

    # Life

    def tick(self, now: float) -> None:
        """Do the work that is due: hear the processes, start and kill workers, settle orders.

        Args:
            now: Time on the monotonic clock, in seconds.
        """
        if self._checking is not None:
            self._hear_preflight(self._checking, now)
        for slot in self._slots:
            slot.tick(now)
        if self._keeper is not None:
            self._tick_keeper(self._keeper, now)
        self._stop_together()
        self._end_drain(now)
        if self._new is not None:
            self._bring(self._new, now)
        if self._orders:
            self._orders.settle(self._outlook())

    @property
    def is_over(self) -> bool:
        """Whether no process of the pipeline runs, and only an order can start one."""
        return (
            self._checking is None
            and self._keeper is None
            and all(slot.over for slot in self._slots)
        )

    @property
    def begins_again(self) -> bool:
        """Whether a new version is in preflight, or waits for the old version's workers to end."""
        return self._new is not None

    @property
    def is_being_swapped(self) -> bool:
        """Whether the running version drains to make way for a checked new version."""
        return self._new is not None and self._new.checked is not None

    @property
    def listeners(self) -> dict[Child, Callable[[], bool]]:
        """The pipeline's processes, each with the listener that `ChildSelector.listen` calls."""
        listeners = {slot.child: slot.hear for slot in self._slots if slot.child is not None}
        checks = [self._checking]
        if self._new is not None and self._new.checked is None:
            checks.append(self._new.checking)
        for check in checks:
            if check is not None and check.child is not None:
                listeners[check.child] = lambda: True
        return listeners

    def status(self) -> PipelineStatus:
        """Return the pipeline's present status."""
        counters = Counters()
        counters.include(self._past.snapshot())
        causes = Causes()
        for slot in self._slots:
            counters.include(slot.counters())
            causes.include(slot.causes())
        said = [slot.snapshot for slot in self._slots if slot.snapshot is not None]
        state = self.state
        return PipelineStatus(
            name=self.name,
            state=state,
            label=self._checked.label if self._checked else None,
            workers=sum(slot.child is not None for slot in self._slots),
            joined=bool(self._slots) and all(slot.joined for slot in self._slots),
            counters=counters.snapshot(),
            standing=Standing.of_all(s.standing for s in said),
            trouble=self._trouble,
            problem=self._problem or next((s.problem for s in said if s.problem), None),
            to_be_paused=self._paused and state not in HELD | OVER,
            causes=causes.commonest(),
            file=str(self._version.document.path),
            letters=letters.place if (letters := self._version.spec.dead_letter) else "",
            gauges=gauges_of_all(s.gauges for s in said),
            door=self._version.task_door(),
        )

    @property
    def state(self) -> State:
        """The state of the pipeline as a whole."""
        if self._checking is not None:
            return State.PREFLIGHT
        if self.is_over:
            return self._final_state()
        if self._draining_since is not None:
            return State.DRAINING
        return state_of(slot.snapshot for slot in self._slots if slot.snapshot is not None)

    # Parts

    @property
    def _trouble(self) -> str | None:
        troubles = [slot.trouble for slot in self._slots]
        if self._checking is not None:
            troubles.append(self._checking.trouble)
        troubles.append(self._refusal)
        return None if self._problem else next(filter(None, troubles), None)

    def _final_state(self) -> State:
        if self._problem is not None:
            return State.FENCED if self._problem.code == Fenced.code else State.FAILED
        return State.FINISHED if self._has_finished else State.STOPPED

    @property
    def _has_finished(self) -> bool:
        """Whether a worker has finished: a worker checks the end offsets of all partitions."""
        return any(slot.ended is not None and slot.ended.how == "finished" for slot in self._slots)

    def _hear_preflight(self, checking: PreflightProcess, now: float) -> None:
        answer = checking.answer(now)
        if isinstance(answer, Problem):
            self._fail(answer)
        elif answer is not None and checking.child is not None:
            self._checking = None
            self._start(answer, [checking.child, *self._warm])
            self._warm = []

    def _start(self, checked: Checked, children: Sequence[Child | None]) -> None:
        self._checked = checked
        for note in checked.preflight.notes:
            self._log.info(note)
        self._log.info("starts", guarantee=str(checked.label), workers=len(children))
        self._slots = [self._slot(n, checked.preflight, child) for n, child in enumerate(children)]
        task = self._version.keeper_task()
        within = self._version.spec.drain_timeout
        self._keeper = None if task is None else KeeperProcess(task, within, self._log)

    def _tick_keeper(self, keeper: KeeperProcess, now: float) -> None:
        """Let the keeper end before the workers, which write its last words."""
        keeper.tick(now)
        if self._draining_since is not None and keeper.over:
            self._keeper = None
            self._draining_since = now
            self._drain_slots()

    def _forget_slots(self) -> None:
        """Drop the old slots, and keep their counters, which belong to the pipeline."""
        for slot in self._slots:
            self._past.include(slot.counters())
        self._slots = []
        self._problem = self._draining_since = None

    # A new version

    def _bring(self, new: NewVersion, now: float) -> None:
        """Take in the preflight of a new version, or start the version once the old one is over."""
        if new.checked is not None:
            if self.is_over:
                self._new = None
                self._forget_slots()
                self._version, self._paused = new.version, new.paused
                self._start(new.checked, new.children())
            return
        problem = new.check(now)
        if problem is not None:
            self.refuse(problem)
            self._new = None
        elif new.checked is not None:
            self.drain()

    def _drop_new(self, why: str) -> None:
        """Refuse the pending orders, and kill the processes of a new version."""
        self._orders.refuse(why)
        if self._new is not None:
            self._new.end()
            self._new = None

    def _slot(self, number: int, preflight: Preflight, child: Child | None) -> WorkerSlot:
        version = self._version

        def make_task(evidence: Evidence | None) -> WorkerTask:
            return version.worker_task(number, preflight, evidence, paused=self._paused)

        return WorkerSlot(make_task, version.recorder(number), version.watch, child, self._log)

    def _end_drain(self, now: float) -> None:
        """Kill the workers that have not ended within the drain timeout and some grace."""
        since = self._draining_since
        late = since is not None and now - since > self._version.spec.drain_timeout + _GRACE
        if late and self._keeper is None:
            for slot in self._slots:
                slot.kill()

    def _stop_together(self) -> None:
        """Drain all workers once one has failed or finished; fail a run whose workers keep dying.

        After a failure the other workers would fail at the same record. After the end is reached,
        another worker may still wait to join the group, until the session of the first one ends.
        """
        for slot in self._slots:
            if slot.ended is not None and slot.ended.problem is not None:
                self._fail(slot.ended.problem)
        if self._has_finished:
            self.drain()
        if self._version.options.until_end:
            for slot in self._slots:
                if slot.unexplained_deaths >= _GIVE_UP_AFTER and not slot.over:
                    times = f"{_GIVE_UP_AFTER} times in a row"
                    what = f"a worker of {self.name} died {times} without a commit in between"
                    self._fail(WorkerUnstable(what).problem)

    def _fail(self, problem: Problem) -> None:
        if self._problem is None:
            self._problem = problem
            self._log.error("failed", code=problem.code, error=problem.what, next=problem.next_step)
            self.drain()
            if self._keeper is not None:
                self._keeper.interrupt()  # nobody is there who could write what comes of attempts

    def _set_paused(self, order: Order, *, paused: bool) -> None:
        self._orders.hold(order)
        self._paused = paused
        if self._new is not None:
            self._new.paused = paused
        self._tell("pause" if paused else "resume")

    def _outlook(self, *, restarts_again: bool = False) -> Outlook:
        return Outlook(
            state=self.state,
            problem=self._problem,
            trouble=self._trouble,
            workers=[slot.snapshot for slot in self._slots],
            begins_again=self.begins_again,
            restarts_again=restarts_again,
        )

    def _tell(self, command: str) -> None:
        for slot in self._slots:
            slot.send(command)
