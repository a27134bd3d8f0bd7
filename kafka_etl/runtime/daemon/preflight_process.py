"""The preflight of a pipeline, in a process of its own that then becomes the first worker."""

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
"""Codes of the problems that pass by themselves: a daemon repeats the preflight after them."""


class PreflightProcess:
    """Runs a preflight, and repeats the preflight if a signal kills its process.

    A process that exits by itself without an answer is not repeated: the next would exit, too.
    While no broker answers, a daemon repeats the preflight and shows a trouble.

    Args:
        task: The task of the process.
        child: A process that waits for its task; None: one is started as soon as that is possible.
        give_up_after: Kills in a row after which the preflight fails; with a number here,
            unreachable brokers fail the preflight as well. None: repeat without limit.
        log: Logger of the pipeline.
    """

    def __init__(
        self, task: PreflightTask, child: Child | None, give_up_after: int | None, log: Logger
    ) -> None:
        self._task = task
        self._give_up_after = give_up_after
        self._log = log
        self._failures = 0
        self._start_at = 0.0
        self._trouble = Trouble()
        self.child: Child | None = child
        if child is not None:
            child.send(task)

    def answer(self, now: float) -> Checked | Problem | None:
        """Return the result or the problem of the preflight; None while neither is known.

        Args:
            now: Time on the monotonic clock, in seconds.
        """
        if self.child is None:
            return self._start(now) if now >= self._start_at else None
        status = self.child.exit_status()
        for said in self.child.received():  # read after the status: the child may send, then exit
            if not isinstance(said, Snapshot):
                return self._judged(said, now)
            self._trouble.note(said.trouble)
        return None if status is None else self._died(status, now)

    @property
    def trouble(self) -> str | None:
        """The obstacle that the preflight waits for; None: there is none."""
        return self._trouble.said

    def end(self) -> None:
        """Kill the process of the preflight."""
        if self.child is not None:
            self.child.end()

    def _start(self, now: float) -> Problem | None:
        try:
            self.child = Child(WORKER)
        except OSError as error:  # the host has no room for another process: that may pass
            what = "preflight cannot be started"
            return self._failed(f"{what}: {error}", what, str(error), now)
        self.child.send(self._task)
        return None

    def _judged(self, said: object, now: float) -> Checked | Problem | None:
        """Judge the process's answer; None: the problem may pass, and the preflight is repeated."""
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
        reason = describe_exit(status)
        how = f"preflight ended without an answer ({reason})"
        if status >= 0:
            return WorkerUnstable(how).problem
        return self._failed(how, "preflight died", reason, now)

    def _failed(self, trouble: str, what: str, reason: str, now: float) -> Problem | None:
        """Begin again after a while, or return the problem of one failure too many."""
        if self._failures + 1 == self._give_up_after:
            return WorkerUnstable(trouble).problem
        restart_in = self._begin_again(trouble, now)
        self._log.error(what, reason=reason, restart_in=restart_in)
        return None

    def _begin_again(self, trouble: str, now: float) -> str:
        """Schedule the next process after a wait; return the wait as text."""
        if self.child is not None:
            self.child.end()
            self.child.close()
        self._failures += 1
        wait = RESTARTS.delay(self._failures, random.random)
        self.child, self._start_at = None, now + wait
        self._trouble.note(trouble)
        return show_duration(round(wait, 3))
