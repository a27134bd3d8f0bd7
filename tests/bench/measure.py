"""Measuring one program from outside, while its outputs appear: CPU, memory, rate.

Everything is taken between two moments, when a tenth and when nine tenths of the outputs are there,
so that neither start nor end counts. CPU is user and system time of the program and of all its
children, daemon and worker alike.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 120.0


@dataclass(frozen=True)
class Figures:
    """One run. `rss` is the sum of the processes' peaks in MB, `start` the seconds to the first
    committed record."""

    rate: float
    cpu: float
    rss: float
    start: float


class WentWrong(Exception):
    """The program ended early, or nothing came out; holds what it said."""


def measure(
    command: Sequence[str],
    *,
    folder: Path,
    done: Callable[[], int],
    records: int,
    outputs: int,
    core: int | None,
) -> Figures:
    """Run a program to its end.

    Args:
        done: Outputs that can be read by now.
        records: Inputs, which rates and CPU are counted by.
        outputs: How many there will be.
        core: The program's; None: any.
    """
    log = folder / "said.log"
    began = time.monotonic()
    process = start(command, folder, log, core)
    try:
        _wait(process, done, 1, log)
        first_seen = time.monotonic() - began
        first = _moment(process, done, max(1, outputs // 10), log)
        last = _moment(process, done, outputs * 9 // 10, log)
        rss = sum(peak(pid) for pid in tree(process.pid))
        if process.wait(_PATIENCE):
            raise WentWrong(log.read_text()[-3000:])
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    share = (last[2] - first[2]) / outputs * records
    if share <= 0 or last[1] <= first[1]:  # over before it could be looked at twice
        return Figures(0.0, 0.0, rss, first_seen)
    return Figures(
        rate=share / (last[0] - first[0]),
        cpu=(last[1] - first[1]) / share * 1e6,
        rss=rss,
        start=first_seen,
    )


def start(
    command: Sequence[str], folder: Path, log: Path, core: int | None
) -> subprocess.Popen[bytes]:
    """Start a program on one core; it and its children inherit it from this thread."""
    ours = os.sched_getaffinity(0) if core is not None else set[int]()
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        with log.open("wb") as said:
            return subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
    finally:
        if core is not None:
            os.sched_setaffinity(0, ours)


def tree(pid: int) -> Iterator[int]:
    """The process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """User and system time of a tree."""
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _moment(
    process: subprocess.Popen[bytes], done: Callable[[], int], wanted: int, log: Path
) -> tuple[float, float, int]:
    """(time, CPU so far, outputs) at the first look that finds so many."""
    there = _wait(process, done, wanted, log)
    return time.monotonic(), cpu_seconds(process.pid), there


def _wait(process: subprocess.Popen[bytes], done: Callable[[], int], wanted: int, log: Path) -> int:
    deadline = time.monotonic() + _PATIENCE
    while (there := done()) < wanted:
        if process.poll() or time.monotonic() > deadline:
            raise WentWrong(log.read_text()[-3000:])
        time.sleep(0.002)
    return there


def peak(pid: int) -> float:
    """Peak resident memory in MB."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1000
    return 0.0
