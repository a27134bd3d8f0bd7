"""A new version of a pipeline: checked beside the running one, until it takes its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from kafka_etl.errors import Problem
from kafka_etl.runtime.child import WORKER, Child
from kafka_etl.runtime.daemon.order import Order
from kafka_etl.runtime.daemon.preflight_process import PreflightProcess
from kafka_etl.runtime.daemon.version import Version
from kafka_etl.runtime.messages import Checked


@dataclass(slots=True)
class NewVersion:
    """What a restart is to bring.

    Attributes:
        order: The restart that asked for the new version.
        checking: Its preflight; that process has imported everything, and becomes worker 0.
        paused: Whether its workers begin paused.
        checked: What preflight found, once it has found nothing wrong.
        warm: Processes for the other workers, started when the preflight is over.
    """

    version: Version
    order: Order
    checking: PreflightProcess
    paused: bool
    checked: Checked | None = None
    warm: list[Child] = field(default_factory=list[Child])

    def check(self, now: float) -> Problem | None:
        """Hear of the preflight; returns why the version cannot be started."""
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
            self.warm = [Child(WORKER) for _ in range(self.version.workers - 1)]
        return None

    def children(self) -> list[Child]:
        """A process for each worker; one that died while it waited is replaced."""
        waited = [child for child in (self.checking.child, *self.warm) if child is not None]
        return [child if child.exit_status() is None else Child(WORKER) for child in waited]

    def end(self) -> None:
        """The new version is not wanted any more, nor are its processes."""
        self.checking.end()
        for child in self.warm:
            child.end()
