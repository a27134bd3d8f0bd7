"""Measuring a program from outside, while its outputs appear: CPU, memory, rate.

CPU is user and system time of the program and of all its children, daemon and worker alike. It and
the rate are taken between two moments, when a tenth and when nine tenths of the outputs are there:
neither start nor end counts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 120.0
_LOOK = 0.05  # seconds between two looks at memory: walking /proc is not free
_ROLES = {
    "kafka_etl": "daemon",
    "kafka_etl.runtime.worker.main": "worker",
}


@dataclass(frozen=True)
class Figures:
    """One run.

    Attributes:
        rate: Inputs a second.
        cpu: Microseconds an input.
        start: Seconds to the first committed output.
        rss: Role of a process -> its peak of resident memory in MB; of the largest, where
            there are more.
    """

    rate: float
    cpu: float
    start: float
    rss: dict[str, float]

    @property
    def memory(self) -> float:
        """MB of all processes."""
        return sum(self.rss.values())


class WentWrong(Exception):
    """The program ended early, or nothing came out; holds what it said."""


class Watched:
    """A program of one or more processes, which ends with the `with` block at the latest.

    Attributes:
        peaks: Role -> MB; kept of those that are gone.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], folder: Path, core: int | None = None
    ) -> None:
        self.peaks: dict[str, float] = {}
        self._log = folder / "said.log"
        self._looked = 0.0
        self._began = time.monotonic()
        with self._log.open("wb") as said, _on(core):  # which is inherited
            self._processes = [
                subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
                for command in commands
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()  # workers of ours die with their daemon
            process.wait()

    @property
    def age(self) -> float:
        return time.monotonic() - self._began

    def wait_for(self, done: Callable[[], int], wanted: int, every: float = 0.002) -> int:
        """Until so many are done; returns how many were."""
        deadline = time.monotonic() + PATIENCE
        while (there := done()) < wanted:
            if any(process.poll() for process in self._processes) or time.monotonic() > deadline:
                raise WentWrong(f"{there} of {wanted}\n{self._log.read_text()[-3000:]}")
            self._look()
            time.sleep(every)
        return there

    def wait(self) -> None:
        """Until it has ended of its own accord, and well."""
        self.wait_for(lambda: sum(p.poll() is not None for p in self._processes), self._count)

    def stop(self) -> None:
        """As a service manager does; ours must end well, the loop dies of it."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        ends = [process.wait(PATIENCE) for process in self._processes]
        if any(status not in {0, -signal.SIGTERM} for status in ends):
            raise WentWrong(self._log.read_text()[-3000:])

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(pid) for pid in self._tree())

    @property
    def _count(self) -> int:
        return len(self._processes)

    def _tree(self) -> Iterator[int]:
        for process in self._processes:
            yield from _tree(process.pid)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        for pid in self._tree():
            with contextlib.suppress(OSError):
                role, size = _role(pid), _peak(pid)
                if size:  # none of those that have just ended
                    self.peaks[role] = max(self.peaks.get(role, 0.0), size)


def measure(
    program: Watched,
    *,
    records: int,
    outputs: int,
    done: Callable[[], int],
    over: Callable[[], int] | None = None,
) -> Figures:
    """Watch a program from its start to its end.

    Args:
        program: Just started.
        records: Inputs, which rate and CPU are counted by.
        outputs: How many there will be.
        done: Outputs that can be read by now, with the markers of their transactions.
        over: Inputs that are done by now, for a program that does not end by itself.
    """
    program.wait_for(done, 1)
    first_seen = program.age
    began, cpu_before, first = _moment(program, done, max(1, outputs // 10))
    ended, cpu_after, last = _moment(program, done, outputs * 9 // 10)
    if over is None:
        program.wait()
    else:
        program.wait_for(over, records, every=0.1)
        program.stop()
    share = (last - first) / done() * records  # of which the same part is markers
    if share <= 0 or cpu_after <= cpu_before:  # over before it could be looked at twice
        return Figures(0.0, 0.0, first_seen, program.peaks)
    return Figures(
        rate=share / (ended - began),
        cpu=(cpu_after - cpu_before) / share * 1e6,
        start=first_seen,
        rss=program.peaks,
    )


def _moment(program: Watched, done: Callable[[], int], wanted: int) -> tuple[float, float, int]:
    """(time, CPU so far, outputs) at the first look that finds so many."""
    there = program.wait_for(done, wanted)
    return time.monotonic(), program.cpu_seconds(), there


@contextlib.contextmanager
def _on(core: int | None) -> Iterator[None]:
    """This thread on one core; None: wherever it is."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _tree(pid: int) -> Iterator[int]:
    """The process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield from _tree(int(child))


def _cpu_seconds(pid: int) -> float:
    """User and system time of one process, to the microsecond: /proc has hundredths of a second."""
    with contextlib.suppress(OSError):  # gone
        return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid makes of it
    return 0.0


def _role(pid: int) -> str:
    """What a process of ours is for; any other is the loop."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    module = words[words.index("-m") + 1] if "-m" in words else ""
    return _ROLES.get(module, "loop")


def _peak(pid: int) -> float:
    """Peak resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    return 0.0
