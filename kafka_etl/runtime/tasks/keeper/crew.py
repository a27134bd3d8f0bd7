"""The crew of a keeper: its runners, from their start to the death of all they have started."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol

from msgspec.structs import replace

from kafka_etl.log import get_logger
from kafka_etl.runtime.child import RESTARTS, describe_exit
from kafka_etl.runtime.messages import RunnerTask
from kafka_etl.runtime.tasks.exchange import FromRunner, NotReady, Ready
from kafka_etl.runtime.tasks.keeper.control_groups import ControlGroups
from kafka_etl.runtime.tasks.keeper.loop import Loop
from kafka_etl.runtime.tasks.keeper.runner_process import DESCRIPTORS, Pipe, RunnerProcess
from kafka_etl.runtime.tasks.keeper.runner_starts import ForkServerLost, RunnerStarts
from kafka_etl.runtime.tasks.orphans import Orphans
from kafka_etl.tasks.head import Failure
from kafka_etl.tasks.limits import out_of_memory
from kafka_etl.units import show_duration

_RENEWED_AFTER: Final = 10_000
"""Attempts after which a process is renewed: user code may lose memory."""
_STARTS_A_CORE: Final = 4
"""Processes that start at the same time, for each core: the imports of more would keep the keeper
itself from running. Operators whose `open` waits for something else are ready later for that."""
_STARTS_WITHIN: Final = 300.0
"""Seconds that a process may take for imports and for the operator's `open`."""
_LEAVES_WITHIN: Final = 5.0
"""Seconds that a process may take to close its operator."""
_ENDS_WITHIN: Final = 0.2
"""Seconds from the end of a process's connection to its own end, if it is about to end."""
_LAST_READS: Final = 16
"""Reads of some MiB for a result that has not arrived completely when its process has ended."""
_SWEEP_EVERY: Final = 0.02
_OTHER_DESCRIPTORS: Final = 256
"""Descriptors beside those of runners: owners, files, and what is open while a runner starts."""
_CUT_OFF: Final = ", since it had closed its connection, file descriptor 3, or had written to it"
_LATE: Final = f", since it had not started after {show_duration(_STARTS_WITHIN)}"
_BY_OTHERS: Final = ", and not by us: the kernel does that when memory is short"
_log = get_logger("keeper")


class Listener(Protocol):
    """What the crew tells of."""

    def heard(self, runner: RunnerProcess, value: FromRunner) -> None:
        """A runner has sent a value that is about an attempt."""
        ...

    def died(self, runner: RunnerProcess) -> None:
        """A runner has died; what it has started may still live."""
        ...

    def gone(self, runner: RunnerProcess) -> None:
        """A runner has died, and so has all that it has started."""
        ...

    def failed_to_start(self, why: NotReady) -> None:
        """A runner could not open the operator, and there is no other that could."""
        ...


class Crew:
    """All runners.

    Args:
        loop: The keeper's loop.
        task: What each runner is started with.
        slots: Attempts that run at the same time.
        listener: Is told of everything.
        groups: Makes a control group for each runner; None: there are none on this system.
    """

    def __init__(
        self,
        loop: Loop,
        task: RunnerTask,
        slots: int,
        listener: Listener,
        groups: ControlGroups | None = None,
    ) -> None:
        self._loop = loop
        self._task = task
        self._most = slots + 1 if task.is_fresh else slots
        allow_descriptors(DESCRIPTORS * self._most + _OTHER_DESCRIPTORS)
        self._most_starting = _STARTS_A_CORE * _cores()
        self._listener = listener
        self._groups = groups
        self._runners: dict[int, RunnerProcess] = {}
        self._dead: list[RunnerProcess] = []
        self._helpers: set[int] = set()
        self._orphans = Orphans()
        self._starts = RunnerStarts()
        self._sweep_at: float | None = None
        self._failures = 0
        self._not_before = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether no process is left."""
        is_gone = not self._runners and not self._dead and not self._helpers
        return is_gone and self._starts.server is None

    def idle(self) -> RunnerProcess | None:
        """A runner that can be given an attempt: the one that was started last."""
        return next((r for r in reversed(self._runners.values()) if r.is_idle), None)

    def grow(self, waiting: int, now: float) -> None:
        """Start runners for attempts that wait, and one more, so that the next need not wait."""
        staying = [runner for runner in self._runners.values() if not runner.is_leaving]
        free = sum(runner.attempt is None for runner in staying)
        room = self._most - len(staying)
        starting = sum(not runner.is_ready for runner in staying)
        for _ in range(min(waiting + 1 - free, room, self._most_starting - starting)):
            if now >= self._not_before:
                self._start()

    def release(self, runner: RunnerProcess, *, is_alone: bool) -> bool:
        """A runner has answered; return whether its process stays, else it is being killed.

        Args:
            runner: The runner.
            is_alone: Whether the attempt has left no process behind.
        """
        runner.served += 1
        if self._task.is_fresh or not is_alone:
            runner.kill()
            return False
        runner.attempt = None
        if runner.served >= _RENEWED_AFTER or runner.is_grown:
            runner.dismiss(monotonic() + _LEAVES_WITHIN)
        return True

    def dismiss_all(self, *, at_once: bool) -> None:
        """End all runners that have no attempt; no other is started."""
        self._starts.close()
        for runner in self._runners.values():
            if runner.attempt is None and (at_once or not runner.is_ready):
                runner.kill()
            elif runner.is_idle:
                runner.dismiss(monotonic() + _LEAVES_WITHIN)

    def remove(self, folder: str) -> None:
        """Remove a folder, in a process of its own: that may take long."""
        if os.path.lexists(folder):
            with suppress(OSError):
                self._helpers.add(os.posix_spawnp("rm", ["rm", "-rf", "--", folder], os.environ))

    def flush(self) -> None:
        """Send the rest of what runners were sent once they read."""
        for runner in self._runners.values():
            if runner.mailbox.has_unsent:
                self._watch(runner)

    def look(self, now: float) -> None:
        """Reap processes that have ended, sweep what they have left, kill who is late."""
        self._reap(now)
        for runner in self._runners.values():
            if runner.kill_at is not None and now >= runner.kill_at:
                runner.kill_at = None
                runner.was_late = True
                runner.signal_group(signal.SIGKILL)
        if self._sweep_at is not None and now >= self._sweep_at:
            self._sweep(now)

    def next_look(self, *, waiting: bool) -> float | None:
        """When `look` or `grow` has something to do, though no process says anything."""
        times = [r.kill_at for r in self._runners.values() if r.kill_at is not None]
        if self._sweep_at is not None:
            times.append(self._sweep_at)
        if waiting and self._failures:
            times.append(self._not_before)
        return min(times, default=None)

    # Start

    def _start(self) -> None:
        try:
            runner = self._started()
        except OSError as error:
            self._start_failed(NotReady("error", Failure("OSError", str(error))))
            return
        if self._groups is not None:
            self._group(runner, self._groups)
        runner.kill_at = monotonic() + _STARTS_WITHIN
        self._runners[runner.pid] = runner
        self._watch(runner)
        for pipe in runner.pipes:
            self._watch_pipe(pipe)

    def _started(self) -> RunnerProcess:
        try:
            return RunnerProcess(self._task, self._starts)
        except ForkServerLost:
            return RunnerProcess(self._task, self._starts)

    def _group(self, runner: RunnerProcess, groups: ControlGroups) -> None:
        """Give a new process its control group, before it has started anything."""
        try:
            runner.group = groups.make(f"kafka-etl-{os.getpid()}-{runner.pid}")
            runner.group.add(runner.pid)
        except OSError as error:  # its limits are soft, then
            _log.error("a runner has no control group", error=str(error))
            runner.group = None

    def _watch(self, runner: RunnerProcess) -> None:
        mailbox = runner.mailbox
        self._loop.watch(mailbox.fileno(), lambda: self._listen(runner), write=mailbox.has_unsent)

    def _watch_pipe(self, pipe: Pipe) -> None:
        def drain() -> None:
            pipe.drain()
            if pipe.is_at_end:
                self._loop.forget(pipe.file)

        self._loop.watch(pipe.file, drain)

    # Work

    def _listen(self, runner: RunnerProcess) -> None:
        runner.mailbox.flush()
        for value in runner.received():
            self._take(runner, value)
        if runner.mailbox.is_closed or runner.mailbox.is_broken:
            self._loop.forget(runner.mailbox.fileno())
            runner.has_hung_up = True
            runner.kill_at = monotonic() + _ENDS_WITHIN
        else:
            self._watch(runner)

    def _take(self, runner: RunnerProcess, value: FromRunner) -> None:
        if isinstance(value, Ready):
            runner.is_ready = True
            runner.kill_at = None
            self._failures = 0
        elif isinstance(value, NotReady):
            runner.is_leaving = True
            self._start_failed(value)
        else:
            self._listener.heard(runner, value)

    def _start_failed(self, why: NotReady) -> None:
        self._failures += 1
        self._not_before = monotonic() + RESTARTS.delay(self._failures, lambda: 1.0)
        _log.error("a runner cannot start", error=why.failure.message)
        if not any(r.is_ready and not r.is_leaving for r in self._runners.values()):
            self._listener.failed_to_start(why)

    # End

    def _reap(self, now: float) -> None:
        with suppress(ChildProcessError):
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            while (ended := os.waitid(os.P_ALL, 0, flags)) is not None:
                runner = self._runners.get(ended.si_pid)
                if runner is not None:
                    self._bury(runner, now)
                else:
                    os.waitpid(ended.si_pid, 0)
                    self._starts.died(ended.si_pid)
                    self._helpers.discard(ended.si_pid)
                    self._sweep_at = now if self._dead else None

    def _bury(self, runner: RunnerProcess, now: float) -> None:
        """Take the last values of a runner that has ended, kill its session, and reap it."""
        runner.signal_group(signal.SIGKILL)
        for _ in range(_LAST_READS):
            for value in runner.received():
                self._take(runner, value)
        for pipe in runner.pipes:
            pipe.drain()
            self._loop.forget(pipe.file)
        self._loop.forget(runner.mailbox.fileno())
        _, status = os.waitpid(runner.pid, 0)
        runner.exit_status = os.waitstatus_to_exitcode(status)
        del self._runners[runner.pid]
        if not runner.is_ready and not runner.is_leaving:
            self._start_failed(NotReady("died", death_of(runner)))
        self._dead.append(runner)
        self._sweep_at = now
        self._listener.died(runner)

    @property
    def _known(self) -> set[int]:
        """Ids of our children that nobody has left behind."""
        server = self._starts.server
        return {*self._runners, *self._helpers, *([] if server is None else [server])}

    def _sweep(self, now: float) -> None:
        if not self._orphans.sweep(self._known):
            self._sweep_at = now + _SWEEP_EVERY
            return
        self._sweep_at = None
        gone, self._dead = self._dead, []
        for runner in gone:
            runner.close()
            self._listener.gone(runner)


def allow_descriptors(number: int) -> None:
    """Have the system allow this process so many descriptors, as far as it lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _cores() -> int:
    """Number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def death_of(runner: RunnerProcess) -> Failure:
    """The failure of an attempt whose runner has died."""
    status = runner.exit_status or 0
    if runner.group is not None and runner.group.was_out_of_memory:
        failure = out_of_memory(runner.group.limits, "used too much")
        return replace(failure, exit_status=status, stderr=runner.errors.tail)
    said = f"the process of the attempt has ended: {describe_exit(status)}"
    if runner.was_late:
        said += _CUT_OFF if runner.has_hung_up else _LATE
    elif status == -signal.SIGKILL:
        said += _BY_OTHERS
    return Failure("WorkerCrashed", said, exit_status=status, stderr=runner.errors.tail)
