"""One worker: one process, one member of the group, one transactional producer."""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Final

from kafka_etl.config.build import Pipeline, build
from kafka_etl.contracts import Abandoned, OutcomeUnknown, Reconnect, Source
from kafka_etl.dead_letters import Causes
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.hooks import Hooks, Limits
from kafka_etl.engine.poison.breaker import Breaker
from kafka_etl.engine.poison.crash_suspects import CrashSuspects
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.engine.stream.loop import StreamEngine
from kafka_etl.engine.stream.pace import Pace
from kafka_etl.errors import BreakerTripped, KafkaEtlError, Problem
from kafka_etl.invocation import ErrorInfo
from kafka_etl.log import configure, get_logger
from kafka_etl.metrics import Counters
from kafka_etl.plugins import PluginRegistry
from kafka_etl.retry import Backoff
from kafka_etl.runtime.child import next_task, task_of_child
from kafka_etl.runtime.messages import (
    Died,
    Ended,
    PreflightTask,
    Snapshot,
    WorkerState,
    WorkerTask,
)
from kafka_etl.runtime.recorder import Recorder
from kafka_etl.runtime.trouble import Trouble
from kafka_etl.runtime.worker import assemble, preflight
from kafka_etl.runtime.worker.commit_thread import CommitThread
from kafka_etl.runtime.worker.fencing import Fencing
from kafka_etl.runtime.worker.operator_process import isolated

_TELL_EVERY: Final = 0.25
_LOOK_FOR_END_EVERY: Final = 0.25
_NAP: Final = 0.05


class Worker:
    """Runs the engine until told otherwise, and tells the daemon how it goes."""

    def __init__(
        self, pipeline: Pipeline, task: WorkerTask, connection: Connection[Any, Any]
    ) -> None:
        self._pipeline = pipeline
        self._task = task
        self._connection = connection
        self._log = get_logger("worker")
        self._counters = Counters()
        self._causes = Causes()
        self._recorder = Recorder(task.recorder)
        self._fencing = Fencing(task.member, socket.gethostname())
        self._backoff = Backoff(initial=0.2, max=10.0)
        self._reconnects = 0
        self._state: WorkerState = "starting"
        self._paused = task.paused
        self._problem: Problem | None = None
        self._trouble = Trouble(self._log)
        self._drain_by: float | None = None
        self._told_at = 0.0
        self._looked_at = 0.0
        self._source: Source | None = None
        self._engine: StreamEngine | None = None
        self._deployment = assemble.deployment_of(pipeline, task.member, task.preflight)
        self._sink = assemble.make_sink(pipeline, self._deployment, self._pulse)
        letters = pipeline.spec.dead_letter
        self._breaker = Breaker(letters.limit.max_consecutive if letters else sys.maxsize)
        self._quarantine = Quarantine(self._suspicion())
        self._pools = Pools(pipeline.operators, self._recorder.tick, isolated(task), self._watching)
        self._commit_thread = CommitThread(self._alive)
        self._pace = Pace(
            pipeline.source_settings.batch.max_records,
            assemble.slice_seconds(pipeline),
            assemble.smallest_slice(pipeline),
        )

    def run(self) -> Ended:
        """From the first record to the last word."""
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
            self._log.error("the pipeline stops", code=error.code, error=error.what)
            self._await_commit()
            return Ended("failed", self._snapshot(), error.problem)
        finally:
            self._close()

    def stop(self) -> None:
        """Finish what is in hand and leave; called from a signal handler, so it only notes it."""
        if self._drain_by is not None:
            os._exit(128 + signal.SIGTERM)
        self._drain_by = time.monotonic() + self._pipeline.spec.drain_timeout

    # The loop

    def _turn(self) -> None:
        """One batch, or a short rest."""
        self._talk()
        try:
            engine = self._engine or self._connect()
            if self._paused:
                engine.idle()
            else:
                engine.step()
                self._reconnects = 0
            if self._source is not None:
                self._trouble.look(self._source, paused=self._paused)
        except (Reconnect, OutcomeUnknown) as reason:
            self._reconnect(reason)
        except KafkaEtlError as error:
            if self._task.until_end or self._engine is None or not error.pauses:
                raise
            self._log.error("paused", code=error.code, error=error.what)
            self._paused, self._problem = True, error.problem
            self._trouble.note(None)  # what was in the way has become that

    def _is_over(self) -> bool:
        if self._stopping():
            return True
        now = time.monotonic()
        if not self._task.until_end or now - self._looked_at < _LOOK_FOR_END_EVERY:
            return False
        self._looked_at = now
        return self._source is not None and self._source.finished(self._task.preflight.ends)

    def _connect(self) -> StreamEngine:
        self._sink.open()  # first: it settles what a predecessor left open, and offsets with it
        self._source = assemble.make_source(self._pipeline, self._deployment, self._pulse)
        chain = assemble.make_chain(
            self._pipeline, self._deployment.size_limits, self._recorder.entering, self._pools
        )
        engine = StreamEngine(
            self._source,
            self._sink,
            Invoker(
                chain=chain,
                policy=self._pipeline.retry,
                policies=self._pipeline.retries,
                now_ms=_now_ms,
                random=random.random,
            ),
            limits=Limits(dead_letters=self._pipeline.spec.dead_letter is not None),
            pace=self._pace,
            breaker=self._breaker,
            quarantine=self._quarantine,
            recorder=self._recorder,
            counters=self._counters,
            hooks=self._hooks_of_worker(),
            begin=self._commit_thread.begin,
            causes=self._causes,
        )
        self._engine = engine
        self._state = "running"
        return engine

    def _reconnect(self, reason: Reconnect | OutcomeUnknown) -> None:
        """Drop the source; the next turn makes a new one, which begins at committed offsets."""
        self._log.warning("reconnecting", reason=reason.reason)
        self._counters.add("reconnects")
        if reason.fenced:
            self._fencing.note(time.monotonic(), reason.reason)
        if self._engine is not None:
            self._engine.end()  # else what is under way and a new producer would fence each other
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
        """What is under way is waited for, so that the last word counts it."""
        if self._engine is not None:
            with suppress(Abandoned):
                self._engine.end()

    def _close(self) -> None:
        self._commit_thread.close()
        if self._source is not None:
            self._source.close()
        self._sink.close()
        for operator in self._pipeline.operators:
            try:
                self._pools.end(operator)
            except Exception as error:  # noqa: BLE001 - user code, and we are leaving
                info = ErrorInfo.of(error)
                self._log.warning("closing an operator failed", operator=operator.name, error=info)
        self._pools.close()
        self._recorder.close()

    # What the engine asks of us

    def _hooks_of_worker(self) -> Hooks:
        return Hooks(
            stopping=self._talk_and_see,
            sleep=self._sleep,
            fenced=lambda reason: self._fencing.note(time.monotonic(), reason),
            trouble=self._trouble.note,
            clock=time.monotonic,
            now_ms=_now_ms,
            random=random.random,
        )

    def _stopping(self) -> bool:
        return self._drain_by is not None

    def _talk_and_see(self) -> bool:
        self._talk()
        return self._stopping()

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._recorder.tick()
            self._talk()
            if self._stopping():
                raise Abandoned
            time.sleep(min(left, _NAP))

    def _pulse(self, waiting_for: str) -> None:
        """In the waits of source and sink: those are worth finishing while there is time."""
        self._trouble.note(waiting_for)
        if not self._commit_thread.is_here():
            self._alive()
        self._leave_in_time()

    def _watching(self) -> None:
        """In the waits for processes of operators."""
        self._alive()
        self._leave_in_time()

    def _alive(self) -> None:
        self._recorder.tick()
        self._talk()

    def _leave_in_time(self) -> None:
        if self._drain_by is not None and time.monotonic() > self._drain_by:
            raise Abandoned

    def _suspicion(self) -> CrashSuspects:
        operators = self._pipeline.operators
        return CrashSuspects(
            self._task.evidence,
            max_deaths=self._pipeline.retry.max_attempts,
            by_range=any(operator.shape.mixes for operator in operators),
            together=max((operator.concurrency for operator in operators), default=1),
        )

    # What the daemon asks of us

    def _talk(self) -> None:
        """Hear the daemon's commands, and tell how it goes."""
        try:
            while self._connection.poll():
                self._obey(self._connection.recv())
            if time.monotonic() - self._told_at >= _TELL_EVERY:
                self._tell()
        except (EOFError, OSError):
            os._exit(1)  # the daemon is gone, and with it whoever watches us

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
        self._told_at = time.monotonic()
        self._connection.send(self._snapshot())

    def _snapshot(self) -> Snapshot:
        state = self._state
        if self._stopping():
            state = "draining"
        elif self._paused:
            state = "paused"
        source = self._source
        return Snapshot(
            state,
            at_ms=_now_ms(),
            counters=self._counters.snapshot(),
            positions={} if source is None else source.positions(),
            joined=source is not None and source.joined,
            trouble=self._trouble.said,
            problem=self._problem,
            causes=self._causes.commonest(),
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    """The process: tasks come through the pipe, the last word goes back."""
    task: PreflightTask | WorkerTask
    task, connection = task_of_child()
    _configure_logs(task)
    sys.path.insert(0, str(task.document.folder))
    try:
        connection.send(_work(task, connection))
    except KafkaEtlError as error:
        connection.send(Ended("failed", Snapshot("starting", _now_ms()), error.problem))
    except Exception as error:  # noqa: BLE001 - said in one line, and the daemon starts another
        info = ErrorInfo.of(error)
        said = f"{info.type}: {info.message}"
        get_logger("worker").error("died", error=said, traceback=info.traceback)
        connection.send(Died(said))
        sys.exit(1)


def _work(task: PreflightTask | WorkerTask, connection: Connection[Any, Any]) -> Ended:
    pipeline = build(task.document, PluginRegistry.installed())
    worker = Worker(pipeline, _checked(task, pipeline, connection), connection)

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    _collect_garbage_rarely(pipeline)
    return worker.run()


def _checked(
    task: PreflightTask | WorkerTask, pipeline: Pipeline, connection: Connection[Any, Any]
) -> WorkerTask:
    """The worker's task; before that its preflight, if it was chosen for it."""
    if isinstance(task, WorkerTask):
        return task

    def tell(waiting_for: str) -> None:
        connection.send(Snapshot("starting", _now_ms(), trouble=waiting_for))

    connection.send(preflight.check(pipeline, task.member, tell))
    following: WorkerTask = next_task(connection)
    _configure_logs(following)
    return following


def _configure_logs(task: PreflightTask | WorkerTask) -> None:
    worker = task.worker if isinstance(task, WorkerTask) else "preflight"
    configure(task.logs.levels, pipeline=task.document.data.get("name"), worker=worker)


def _collect_garbage_rarely(pipeline: Pipeline) -> None:
    """Let a batch live and die without the collector looking at it.

    Records, values and outputs of a batch are many objects that all go at once and hold no cycles;
    by default the collector would visit each of them two or three times, a fifth of all work.
    Cycles that operators make are still found, once there are as many objects as in many batches.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20 * pipeline.source_settings.batch.max_records)


if __name__ == "__main__":
    main()
