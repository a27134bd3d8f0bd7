"""A new version of a pipeline, from its preflight until its workers replace the running ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from kafka_etl.errors import Problem
from kafka_etl.runtime.child import Child, worker_in_advance
from kafka_etl.runtime.daemon.order import Order
from kafka_etl.runtime.daemon.preflight_process import PreflightProcess
from kafka_etl.runtime.daemon.version import Version
from kafka_etl.runtime.messages import Checked


@dataclass(slots=True)
class NewVersion:
    """A new version of a pipeline that a restart has ordered.

    Attributes:
        version: The new version.
        order: The order to restart.
        checking: Preflight of the new version; its process, with all imports done, becomes
            worker 0.
        paused: Whether the workers of the new version begin paused.
        checked: Result of the preflight; None until the preflight has succeeded.
        warm: Processes for the other workers, started once the preflight has succeeded.
    """

    version: Version
    order: Order
    checking: PreflightProcess
    paused: bool
    checked: Checked | None = None
    warm: list[Child | None] = field(default_factory=list[Child | None])

    def check(self, now: float) -> Problem | None:
        """Take in the preflight's answer; return a problem if the version cannot be started."""
        answer = self.checking.answer(now)
        if isinstance(answer, Problem):
            name = self.version.spec.name
            what = f"the new version of `{name}` was not started, and nothing has changed"
            problem = Problem(answer.code, f"{what}: {answer.what}", answer.next_step)
            self.order.fail(problem)
            self.end()
            return problem
        if answer is not None:
            self.order.progress = "the new version is good; draining the running one"
            self.checked = answer
            self.warm = [worker_in_advance() for _ in range(self.version.workers - 1)]
        return None

    def children(self) -> list[Child | None]:
        """Return a process for each worker; a process that died while waiting is replaced."""
        return [
            child if child is not None and child.exit_status() is None else worker_in_advance()
            for child in (self.checking.child, *self.warm)
        ]

    def end(self) -> None:
        """Kill the processes of the new version."""
        self.checking.end()
        for child in filter(None, self.warm):
            child.end()
