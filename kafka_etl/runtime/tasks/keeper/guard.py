"""The guard of a keeper: sees to it that attempts keep their limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from kafka_etl.runtime.tasks.keeper.runner_process import RunnerProcess
from kafka_etl.runtime.tasks.keeper.usage import Processes
from kafka_etl.tasks.head import Failure
from kafka_etl.tasks.limits import Limits, Usage, excess

_EVERY: Final = 0.5
_GROWN: Final = 0.5
"""Share of the memory limit from which on a process serves no other attempt."""


class Guard:
    """Looks at what attempts use, twice a second.

    A runner in a control group has its memory limit kept by the kernel; its CPU time is looked at
    here. Of any other runner both are: such limits are soft, as much can be used in half a second.

    Args:
        limits: The limits of an attempt.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._look_at = 0.0
        self._cpu_before: dict[str, float] = {}

    def next_look(self, runners: Mapping[str, RunnerProcess]) -> float | None:
        """When `look` has something to do; None: never, as things are."""
        return self._look_at if self._limits and runners else None

    def look(
        self, now: float, runners: Mapping[str, RunnerProcess]
    ) -> Iterator[tuple[str, Failure]]:
        """The attempts that use more than they may, by their tokens, and what is said of them.

        Args:
            now: The keeper's time, in seconds.
            runners: Token -> runner.
        """
        if not self._limits or not runners or now < self._look_at:
            return
        self._look_at = now + _EVERY
        processes = None if all(r.group for r in runners.values()) else Processes()
        before, self._cpu_before = self._cpu_before, {}
        for token, runner in runners.items():
            usage = self._usage(runner, processes)
            # The process may have served others: what it had used at the first look at this attempt
            # was used by them, but for half a second at most.
            began_with = before.get(token, usage.cpu)
            self._cpu_before[token] = began_with
            limit = self._limits.memory
            runner.is_grown = limit is not None and usage.memory > _GROWN * limit
            failure = excess(Usage(usage.memory, usage.cpu - began_with), self._limits)
            if failure is not None:
                yield token, failure

    def _usage(self, runner: RunnerProcess, processes: Processes | None) -> Usage:
        if runner.group is not None:
            return runner.group.usage()
        if processes is None:
            return Usage(0, 0.0)
        return processes.usage(runner.pid, self._limits.memory)
