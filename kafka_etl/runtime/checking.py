"""The preflight of a pipeline: in a process of its own, which then becomes the first worker."""

from __future__ import annotations

import random

from kafka_etl.errors import Problem, WorkerUnstable
from kafka_etl.log import Logger
from kafka_etl.runtime.child import RESTARTS, WORKER, Child, describe_exit
from kafka_etl.runtime.messages import Checked, Ended, PreflightTask
from kafka_etl.units import show_duration


class Checking:
    """Waits for the answer, and begins again when something kills the process before it comes.

    One that ends by itself without an answer would do so again.

    Args:
        task: What to check.
        child: A process that waits for its task.
        give_up_after: Kills in a row after which there is no use; None: never.
        log: The pipeline's.
    """

    def __init__(
        self, task: PreflightTask, child: Child, give_up_after: int | None, log: Logger
    ) -> None:
        self._task = task
        self._give_up_after = give_up_after
        self._log = log
        self._kills = 0
        self._start_at = 0.0
        self.trouble: str | None = None
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
        answers = self.child.received()  # after the status: it may have spoken and gone
        if answers:
            return _said(answers[0])
        return None if status is None else self._died(self.child, status, now)

    def end(self) -> None:
        """Whatever it would have found, nobody waits for it."""
        if self.child is not None:
            self.child.end()

    def _died(self, child: Child, status: int, now: float) -> Problem | None:
        how = f"preflight ended without an answer ({describe_exit(status)})"
        self._kills += 1
        if status >= 0 or self._kills == self._give_up_after:
            return WorkerUnstable(how).problem
        child.close()
        wait = RESTARTS.delay(self._kills, random.random)
        self.child, self._start_at, self.trouble = None, now + wait, how
        self._log.error(
            "preflight died", reason=describe_exit(status), restart_in=show_duration(round(wait, 3))
        )
        return None


def _said(answer: object) -> Checked | Problem:
    if isinstance(answer, Checked):
        return answer
    problem = answer.problem if isinstance(answer, Ended) else None
    return problem or WorkerUnstable("preflight gave no answer").problem
