"""One worker: one process, one member of the group, one transactional producer."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from time import monotonic, sleep, time_ns  # by name: user code may patch the module
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Abandoned, OffsetKeeper, OutcomeUnknown, Reconnect, Source
from kafka_etl.dead_letters import Causes
from kafka_etl.engine.hooks import Hooks, Limits
from kafka_etl.engine.poison.breaker import NEW_KINDS
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.engine.stream.loop import StreamEngine
from kafka_etl.engine.stream.parts import StreamParts
from kafka_etl.errors import BreakerTripped, KafkaEtlError, Problem
from kafka_etl.invocation import ErrorInfo
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters
from kafka_etl.retry import Backoff
from kafka_etl.runtime.messages import (
    Ended,
    Snapshot,
    WorkerState,
    WorkerTask,
)
from kafka_etl.runtime.recorder import Recorder
from kafka_etl.runtime.trouble import Trouble
from kafka_etl.runtime.worker import assemble
from kafka_etl.runtime.worker.commit_thread import CommitThread
from kafka_etl.runtime.worker.deployments import deployment_of
from kafka_etl.runtime.worker.fencing import Fencing
from kafka_etl.runtime.worker.operator_process import isolated
from kafka_etl.runtime.worker.standing import StandingKeeper

T = TypeVar("T")

_TELL_EVERY: Final = 0.5
_LOOK_FOR_END_EVERY: Final = 0.25
_NAP: Final = 0.05
_PIECE: Final = 0.1
_SINK_PATIENCE: Final = 60.0
"""Seconds that a run with `--until-end` waits for a sink's target that cannot be opened.

Without `--until-end` the wait has no limit.
"""


@runtime_checkable
class Interruptible(Protocol):
    """A sink whose call under way can be broken from another thread."""

    def interrupt(self) -> None: ...


class Worker:
    """Runs the engine, obeys the daemon's commands, and reports to the daemon.

    Everything but commits runs in the main thread of the worker's process.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        task: WorkerTask,
        connection: Connection[Any, Any],
        stdout: int = 1,
    ) -> None:
        self._pipeline = pipeline
        self._task = task
        self._connection = connection
        self._log = get_logger("worker")
        self._counters = Counters()
        self._causes = Causes()
        self._recorder = Recorder(task.recorder)
        self._pid = os.getpid()
        self._fencing = Fencing(task.member, socket.gethostname())
        self._backoff = Backoff(initial=0.2, max=10.0)
        self._reconnects = 0
        self._state: WorkerState = "starting"
        self._paused = task.paused
        self._problem: Problem | None = None
        self._trouble = Trouble(self._log)
        self._drain_by: float | None = None
        self._told_at = 0.0
        self._told: object = None
        self._standing = StandingKeeper()
        self._looked_at = 0.0
        self._source: Source | None = None
        self._engine: StreamEngine | None = None
        self._deployment = deployment_of(pipeline, task.member, task.preflight, stdout, self._pulse)
        self._sink = assemble.make_sink(
            pipeline,
            self._deployment,
            patience=_SINK_PATIENCE if task.until_end else None,
            folder=task.recorder.parent,
            counters=self._counters,
        )
        keeps_offsets = isinstance(self._sink, OffsetKeeper)
        self._deployment = replace(self._deployment, offsets_in_sink=keeps_offsets)
        self._letters = assemble.make_letters(
            pipeline,
            self._deployment,
            patience=_SINK_PATIENCE if task.until_end else None,
        )
        self._notices = assemble.make_notices(pipeline, self._deployment, now_ms)
        self._kinds = assemble.make_kinds(
            pipeline, self._deployment, task.recorder.parent, now_ms, self._notices
        )
        self._knows_kinds = False
        self._breaker = assemble.make_breaker(pipeline, self._kinds)
        self._quarantine = assemble.make_quarantine(pipeline, task.evidence)
        self._pools = Pools(pipeline.operators, self._recorder.tick, isolated(task), self._watching)
        self._commit_thread = CommitThread(self._watching)
        self._pace = assemble.make_pace(pipeline, cautious=task.cautious)

    def run(self) -> Ended:
        """Work until the pipeline ends, the daemon stops the worker, or an error stops the worker.

        Returns:
            The last value for the daemon.

        Raises:
            Exception: An unexpected error. The flight recorder is then not closed, so that the
                daemon blames the record in hand, as after a crash.
        """
        try:
            ended = self._work()
        finally:
            self._close()
        self._recorder.close()
        return ended

    def _work(self) -> Ended:
        try:
            self._open()
            while not self._is_over():
                self._turn()
            self._await_commit()
            return Ended("drained" if self._stopping() else "finished", self._snapshot())
        except Abandoned:
            self._await_commit()
            return Ended("drained", self._snapshot())
        except KafkaEtlError as error:
            self._log.info("stops", code=error.code)  # the daemon logs the error itself
            self._await_commit()
            return Ended("failed", self._snapshot(), error.problem)

    def stop(self) -> None:
        """Note that the worker must drain; a second call ends the process at once.

        Called on SIGTERM and on the command `drain`. A signal may interrupt any code, so the main
        loop does the draining.
        """
        if self._drain_by is not None:
            os._exit(128 + signal.SIGTERM)
        self._drain_by = monotonic() + self._pipeline.spec.drain_timeout

    # The loop

    def _turn(self) -> None:
        """Hear the daemon, then let the engine run one batch, or idle while paused."""
        self._talk()
        try:
            engine = self._engine or self._connect()
            if self._paused:
                engine.idle()
            else:
                engine.step()
                if self._task.until_end:
                    engine.close_open()
                self._reconnects = 0
            if self._source is not None:
                self._trouble.look(self._source, paused=self._paused)
        except (Reconnect, OutcomeUnknown) as reason:
            self._reconnect(reason)
        except KafkaEtlError as error:
            if isinstance(error, BreakerTripped):
                if not self._still_trips():
                    return
                if self._breaker.trip is not None:
                    self._notices.breaker_opened(self._breaker.trip)
            if self._task.until_end or self._engine is None or not error.pauses:
                raise
            self._log.error("paused", code=error.code, error=error.what, next=error.next_step)
            self._paused, self._problem = True, error.problem
            self._trouble.note(None)  # the problem of the pause replaces the trouble

    def _still_trips(self) -> bool:
        """Whether the breaker's trip stands; a new kind may be another worker's old one by now."""
        trip = self._breaker.trip
        if trip is not None and trip.limit == NEW_KINDS:
            with suppress(KafkaEtlError, Reconnect):
                self._learn_kinds()
        return self._breaker.still_trips

    def _learn_kinds(self) -> None:
        self._kinds.learn(self._wait_for(lambda: assemble.kinds_so_far(self._pipeline)))

    def _is_over(self) -> bool:
        if self._stopping():
            return True
        now = monotonic()
        if not self._task.until_end or now - self._looked_at < _LOOK_FOR_END_EVERY:
            return False
        self._looked_at = now
        return self._source is not None and self._source.finished(self._task.preflight.ends)

    def _connect(self) -> StreamEngine:
        # The sink comes first: opening the sink ends a predecessor's open transaction, and with
        # the transaction settles the offsets at which the source begins.
        self._wait_for(self._sink.open)
        if not self._knows_kinds:
            self._learn_kinds()
            self._knows_kinds = True
        self._source = assemble.make_source(self._pipeline, self._deployment, self._pulse)
        self._engine = StreamEngine(
            StreamParts(
                source=self._source,
                sink=self._sink,
                invoker=assemble.make_invoker(
                    self._pipeline,
                    self._deployment,
                    self._entering,
                    self._pools,
                    now_ms,
                ),
                limits=Limits(dead_letters=self._pipeline.spec.dead_letter is not None),
                pace=self._pace,
                breaker=self._breaker,
                quarantine=self._quarantine,
                recorder=self._recorder,
                counters=self._counters,
                hooks=self._hooks_of_worker(),
                letters=self._letters,
                causes=self._causes,
                kinds=self._kinds,
                cautious=self._task.cautious,
                submit=self._commit_thread.submit,
            )
        )
        self._state = "running"
        return self._engine

    def _wait_for(self, call: Callable[[], T]) -> T:
        """Make a call on the commit thread, and keep the worker alive meanwhile."""
        submitted = self._commit_thread.submit(call)
        while not submitted.ended(_PIECE):
            pass
        return submitted.result()

    def _reconnect(self, reason: Reconnect | OutcomeUnknown) -> None:
        """Close the source; the next turn makes a new source, which begins at committed offsets."""
        self._log.warning("reconnecting", reason=reason.reason)
        self._counters.add("reconnects")
        if reason.fenced:
            self._fencing.note(monotonic(), reason.reason)
        if self._engine is not None:
            self._engine.end()  # else a commit under way and the new producer fence each other
        if self._source is not None:
            self._source.close()
        self._source, self._engine = None, None
        self._reconnects += 1
        self._sleep(self._backoff.delay(self._reconnects, random.random))

    def _open(self) -> None:
        for operator in self._pipeline.operators:
            operator.context.worker = self._task.member
            self._pools.open(operator)

    def _await_commit(self) -> None:
        """Wait for a commit under way, so that the counters of `Ended` include the commit."""
        if self._engine is not None:
            with suppress(Abandoned):
                self._engine.end()

    def _close(self) -> None:
        for door in (self._sink, self._letters) if self._commit_thread.is_busy else ():
            if isinstance(door, Interruptible):
                door.interrupt()
        self._commit_thread.close()
        if self._source is not None:
            self._source.close()
        self._sink.close()
        if self._letters is not None:
            self._letters.close()
        for operator in self._pipeline.operators:
            try:
                self._pools.end(operator)
            except Exception as error:  # noqa: BLE001 - user code, and we are leaving
                info = ErrorInfo.of(error)
                self._log.warning("closing an operator failed", operator=operator.name, error=info)
        self._pools.close()
        self._notices.close()

    # Callbacks of the engine, the sink and the pools

    def _hooks_of_worker(self) -> Hooks:
        return Hooks(
            stopping=self._talk_and_see,
            sleep=self._sleep,
            fenced=lambda reason: self._fencing.note(monotonic(), reason),
            trouble=self._trouble.note,
            clock=monotonic,
            now_ms=now_ms,
            random=random.random,
        )

    def _entering(self, stage: int) -> None:
        """Note the start of a stage in the flight recorder; end the process if it is a fork.

        An operator that forks may return in the forked copy of the worker, too. The copy would
        repeat the worker's further work, with a Kafka client that lacks its threads.
        """
        if os.getpid() != self._pid:
            os._exit(1)
        self._recorder.entering(stage)

    def _stopping(self) -> bool:
        return self._drain_by is not None

    def _talk_and_see(self) -> bool:
        self._talk()
        return self._stopping()

    def _sleep(self, seconds: float) -> None:
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            self._recorder.tick()
            self._talk()
            if self._stopping():
                raise Abandoned
            sleep(min(left, _NAP))

    def _pulse(self, waiting_for: str) -> None:
        """Keep the worker alive in a wait of source or sink; called in either thread.

        A wait goes on while the worker drains, until the drain timeout is over.

        Raises:
            Abandoned: The drain timeout is over.
        """
        self._trouble.note(waiting_for)
        if not self._commit_thread.is_here():
            self._alive()
        self._leave_in_time()

    def _watching(self) -> None:
        """Keep the worker alive in a wait for the sink, or for the processes of operators.

        Raises:
            Abandoned: The drain timeout is over.
        """
        self._alive()
        self._leave_in_time()

    def _alive(self) -> None:
        self._recorder.tick()
        self._talk()

    def _leave_in_time(self) -> None:
        if self._drain_by is not None and monotonic() > self._drain_by:
            raise Abandoned

    # Commands of the daemon, and reports to the daemon

    def _talk(self) -> None:
        """Obey the daemon's commands, and send a report if one is due."""
        try:
            while self._connection.poll():
                self._obey(self._connection.recv())
            due = monotonic() - self._told_at >= _TELL_EVERY
            if due or self._news() != self._told:
                self._tell()
        except (EOFError, OSError):
            os._exit(1)  # the daemon is dead: a worker must not run unwatched

    def _obey(self, command: str) -> None:
        match command:
            case "pause":
                self._paused = True
            case "resume":
                if self._problem is not None and self._problem.code == BreakerTripped.code:
                    self._breaker.let_pass()
                self._paused, self._problem = False, None
            case "drain":
                if self._drain_by is None:
                    self.stop()
            case _:
                self._log.error("unknown command", command=command)
        self._tell()

    def _tell(self) -> None:
        self._told_at, self._told = monotonic(), self._news()
        self._connection.send(self._snapshot())

    def _visible_state(self) -> WorkerState:
        if self._stopping():
            return "draining"
        return "paused" if self._paused else self._state

    def _news(self) -> object:
        """Return the parts of a report whose change is reported at once."""
        return self._visible_state(), self._quarantine.suspects.evidence_is_noted

    def _snapshot(self) -> Snapshot:
        source, at_ms = self._source, now_ms()
        return Snapshot(
            self._visible_state(),
            at_ms=at_ms,
            counters={**self._counters.snapshot(), **self._notices.counts()},
            standing=self._standing.look(source, at_ms),
            noted=self._quarantine.suspects.evidence_is_noted,
            joined=source is not None and source.joined,
            trouble=self._trouble.said,
            problem=self._problem,
            causes=self._causes.commonest(),
            gauges=self._counters.gauges(),
        )


def now_ms() -> int:
    return time_ns() // 1_000_000
