"""The preflight of a pipeline: in a process of its own, which then becomes the first worker."""

from __future__ import annotations

import random
from typing import Final

from kafka_etl.errors import BrokersUnreachable, Problem, WorkerUnstable
from kafka_etl.log import Logger
from kafka_etl.runtime.child import RESTARTS, WORKER, Child, describe_exit
from kafka_etl.runtime.messages import Checked, Died, Ended, PreflightTask, Snapshot
from kafka_etl.runtime.trouble import Trouble
from kafka_etl.units import show_duration

_PASSING: Final = frozenset({BrokersUnreachable.code})
"""What mends itself without us: a daemon waits for it, whatever else stops the pipeline."""


class PreflightProcess:
    """Waits for the answer, and begins again when something kills the process before it comes.

    One that ends by itself without an answer would do so again. A daemon also begins again while
    no broker answers: it is shown as trouble, never the end of a pipeline.

    Args:
        task: What to check.
        child: A process that waits for its task.
        give_up_after: Kills in a row after which there is no use, and then a broker that is away
            is the answer; None: never.
        log: The pipeline's.
    """

    def __init__(
        self, task: PreflightTask, child: Child, give_up_after: int | None, log: Logger
    ) -> None:
        self._task = task
        self._give_up_after = give_up_after
        self._log = log
        self._failures = 0
        self._start_at = 0.0
        self._trouble = Trouble()
        self.child: Child | None = child
        child.send(task)

    def answer(self, now: float) -> Checked | Problem | None:
        """What came of it; None as long as that is open."""
        if self.child is None:
            if now >= self._start_at:
                self.child = Child(WORKER)
                self.child.send(self._task)
            return None
        status = self.child.exit_status()
        for said in self.child.received():  # after the status: it may have spoken and gone
            if not isinstance(said, Snapshot):
                return self._judged(said, now)
            self._trouble.note(said.trouble)
        return None if status is None else self._died(status, now)

    @property
    def trouble(self) -> str | None:
        """What it waits for, if anything is in the way."""
        return self._trouble.said

    def end(self) -> None:
        """Whatever it would have found, nobody waits for it."""
        if self.child is not None:
            self.child.end()

    def _judged(self, said: object, now: float) -> Checked | Problem | None:
        """Its answer, unless that is worth asking again."""
        if isinstance(said, Checked):
            return said
        if isinstance(said, Died):
            return WorkerUnstable(f"preflight ended without an answer ({said.reason})").problem
        problem = said.problem if isinstance(said, Ended) else None
        if problem is None:
            return WorkerUnstable("preflight gave no answer").problem
        if self._give_up_after is not None or problem.code not in _PASSING:
            return problem
        again_in = self._begin_again(problem.what, now)
        self._log.warning("preflight begins again", reason=problem.what, again_in=again_in)
        return None

    def _died(self, status: int, now: float) -> Problem | None:
        how = f"preflight ended without an answer ({describe_exit(status)})"
        if status >= 0 or self._failures + 1 == self._give_up_after:
            return WorkerUnstable(how).problem
        restart_in = self._begin_again(how, now)
        self._log.error("preflight died", reason=describe_exit(status), restart_in=restart_in)
        return None

    def _begin_again(self, trouble: str, now: float) -> str:
        """Have it made again after a while; says how long that is."""
        if self.child is not None:
            self.child.end()
            self.child.close()
        self._failures += 1
        wait = RESTARTS.delay(self._failures, random.random)
        self.child, self._start_at = None, now + wait
        self._trouble.note(trouble)
        return show_duration(round(wait, 3))
