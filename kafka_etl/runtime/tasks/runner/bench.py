"""The workbench of a runner: the pipeline of the run document, built once and used many times."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from traceback import print_exception

from kafka_etl.config.build import Pipeline, build
from kafka_etl.contracts import Unavailable
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.errors import Stopped
from kafka_etl.functions.bind import Isolation
from kafka_etl.invocation import ErrorInfo, Invocation
from kafka_etl.plugins import PluginRegistry
from kafka_etl.record import Batch, next_offsets
from kafka_etl.runtime.messages import RunnerTask
from kafka_etl.runtime.tasks.exchange import TOKEN, Answer, Begun, Failed, Made, Reported, Run
from kafka_etl.runtime.tasks.orphans import children_of
from kafka_etl.runtime.tasks.runner.cancelling import Cancelling
from kafka_etl.runtime.tasks.runner.reporter import Reporter
from kafka_etl.runtime.tasks.runner.results import make_invoker_of
from kafka_etl.runtime.tasks.runner.surroundings import Surroundings, handlers_of_ours
from kafka_etl.runtime.tasks.runner.verdicts import (
    Fault,
    OneAttempt,
    Success,
    Verdict,
    conclude,
    failure_of,
)
from kafka_etl.tasks.input_record import InputRecord


class Bench:
    """The operator with decoding before and encoding after, for one attempt at a time.

    Args:
        task: The runner's task.
        tell: Tells the keeper, from any thread.

    Raises:
        ConfigError: The pipeline cannot be built in this process.
    """

    def __init__(self, task: RunnerTask, tell: Callable[[Begun | Reported], None]) -> None:
        self._task = task
        self._tell = tell
        self._pid = os.getpid()
        self._cancelling = Cancelling()
        self._verdicts: list[Verdict] = []
        self._run: Run | None = None
        pipeline = self._for_one_attempt(build(task.document, PluginRegistry.installed()))
        self._operators = pipeline.operators
        self._pools = Pools(self._operators, tick=_nothing)
        self._invoker = make_invoker_of(task, pipeline, self._enter, self._pools, _now_ms)

    def open(self) -> None:
        """Call the operator's `open`.

        What `open` changes in the process, and the processes that it starts, are for all attempts.
        """
        handlers = handlers_of_ours()
        for operator in self._operators:
            operator.context.worker = self._task.executor
            self._pools.open(operator)
        self._surroundings = Surroundings(handlers)
        self._helpers = children_of(self._pid)

    def close(self) -> None:
        """Call the operator's `close`; its error concerns no attempt, and is only printed."""
        for operator in self._operators:
            try:
                self._pools.end(operator)
            except BaseException as error:  # noqa: BLE001 - of user code, whatever it is
                print_exception(error)
        self._pools.close()

    def stop(self) -> None:
        """Tell the attempt to stop, or the next one; called by a signal handler.

        The signal may overtake the attempt that it is for. After it the process serves no other.
        """
        for operator in self._operators:
            operator.context.stopped.set()
        self._cancelling.cancel()

    def run(self, run: Run) -> Answer:
        """Run one attempt."""
        token = run.grant.token
        reporter = Reporter(lambda fraction, text: self._tell(Reported(token, fraction, text)))
        self._run = run
        os.environ[TOKEN] = token
        self._tell_operators(run, reporter)
        self._verdicts.clear()
        started = perf_counter()
        made = self._attempt(run)
        seconds = perf_counter() - started
        reporter.close()
        if os.getpid() != self._pid:
            os._exit(1)  # a fork that the operator has made, and let return: its result is not ours
        if self._task.is_fresh:
            self.close()
        _flush()
        # Before the answer: a signal for the next attempt may follow.
        is_clean = self._surroundings.restore()
        is_alone = is_clean and (_has_no_children() or children_of(self._pid) <= self._helpers)
        if isinstance(made, Success):
            return Made(token, made.rows, made.preview, seconds, is_alone)
        return Failed(token, made.why, made.failure, made.retry_after, seconds, is_alone)

    def _for_one_attempt(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline without what the keeper does: time limits, processes, further attempts."""
        operators = tuple(
            self._cancelling.can_cancel(
                replace(operator, timeout=None, concurrency=1, isolation=Isolation.NONE)
            )
            for operator in pipeline.operators
        )
        retries = {
            name: OneAttempt.noting(policy, self._verdicts)
            for name, policy in pipeline.retries.items()
        }
        retry = OneAttempt.noting(pipeline.retry, self._verdicts)
        return replace(pipeline, operators=operators, retry=retry, retries=retries)

    def _attempt(self, run: Run) -> Success | Fault:
        if self._cancelling.is_cancelled:
            return Fault("stopped", failure_of(ErrorInfo.of(Stopped())))
        record = InputRecord(run.grant.record)
        batch = Batch([record], next_offsets([record]), {})
        try:
            outcome = self._invoker.run(Invocation(run.grant.token, batch, _now_ms()), _no_wait)
            return conclude(outcome, self._verdicts, self._task.max_result)
        except Unavailable as away:
            return Fault("unavailable", failure_of(ErrorInfo.of(away)))
        except BaseException as error:  # noqa: BLE001 - a failure of the attempt, not of ours
            return Fault("error", failure_of(ErrorInfo.of(error)))

    def _enter(self, stage: int) -> None:
        """The engine begins a stage; the first operator's is 1."""
        if stage == 1 and self._run is not None:
            for operator in self._operators:  # the engine has called this attempt the first
                operator.context.attempt = self._run.grant.attempt
            self._tell(Begun(self._run.grant.token))

    def _tell_operators(self, run: Run, reporter: Reporter) -> None:
        for operator in self._operators:
            context = operator.context
            context.task = run.grant.task
            context.generation = run.grant.generation
            context.deadline = run.deadline
            context.listener = reporter.report
            context.scratch = Path(run.folder)


def _has_no_children() -> bool:
    """Whether no process is left that the attempt has started; those that have ended are reaped.

    Orphans among our descendants are our children, see `adopt_orphans`.
    """
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            pass
    except ChildProcessError:
        return True
    return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the operator may have closed or replaced the stream
            stream.flush()


def _nothing() -> None:
    """Stands for a listener where nobody listens."""


def _no_wait(_seconds: float, _reason: str) -> None:
    """Never called: no attempt is followed by another here."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
