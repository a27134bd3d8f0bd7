"""Records at a steady rate: how long each is on its way, and what a commit costs.

`pace.py` writes and reads. `straight` has no program between the two: what the measuring itself and
the broker take.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tests.bench.bench import PARTITIONS, Bench, Result, WrongOutputs
from tests.bench.measure import PATIENCE, Watched
from tests.bench.scenarios import BY_NAME, Scenario, key

PACE = Path(__file__).with_name("pace.py")
WAKING = 100


@dataclass(frozen=True)
class Pace:
    """What is written, and to whom.

    Attributes:
        partitions: Of the sink. With one, its markers are the commits.
        programs: Name -> how long it waits for its batch: text for ours, seconds for the loop.
    """

    about: str
    rate: int
    seconds: float
    warm_up: float
    partitions: int
    programs: dict[str, str | float | None]


PACES = {
    "latency": Pace(
        "2,000 records/s: milliseconds from just before `produce` to a committed reader",
        rate=2000,
        seconds=20.0,
        warm_up=5.0,
        partitions=PARTITIONS,
        programs={
            "straight": None,
            "loop, 10 ms": 0.01,
            "ours": "",
            "loop, 5 ms": 0.005,
            "ours, max_wait 5ms": "5ms",
        },
    ),
    "small-batches": Pace(
        "200 records/s: what a commit costs",
        rate=200,
        seconds=20.0,
        warm_up=3.0,
        partitions=1,
        programs={"loop, 10 ms": 0.01, "ours": ""},
    ),
}


@dataclass(frozen=True)
class Paced:
    """Of one run.

    Attributes:
        p50: Milliseconds, as the next two.
        cpu: Microseconds a record, all of it.
        idle: CPU microseconds a second while nothing comes.
        markers: Of transactions in the sink, a second.
    """

    p50: float
    p99: float
    p999: float
    cpu: float
    idle: float
    markers: float


def run(
    bench: Bench, name: str, rounds: int, records: int | None, pace: Pace | None = None
) -> Result:
    pace = pace or PACES[name]
    if records:
        pace = replace(pace, seconds=records / pace.rate)
    programs = {
        program: partial(_straight, bench, pace)
        if wait is None
        else partial(_once, bench, pace, wait)
        for program, wait in pace.programs.items()
    }
    bench.say(f"{name}: warming the broker, which is slow at first")
    _straight(bench, pace)
    figures = bench.in_turn(name, rounds, programs)
    more = {"rate": pace.rate, "seconds": pace.seconds}
    return Result(name, pace.about, int(pace.rate * pace.seconds), figures, more)


def _straight(bench: Bench, pace: Pace) -> Paced:
    with bench.folder() as folder, bench.topics(1, pace.partitions) as (topic,):
        reader = _reader(bench, pace, topic, folder)
        _writer(bench, pace, topic).wait()
        return Paced(*_percentiles(reader, pace, folder), cpu=0.0, idle=0.0, markers=0.0)


def _once(bench: Bench, pace: Pace, wait: str | float) -> Paced:
    name = bench.kafka.name()
    with (
        bench.folder() as folder,
        bench.topics(1) as (source,),
        bench.topics(1, pace.partitions) as (sink,),
    ):
        command = (
            bench.ours(_waiting(wait), folder, name, source, [sink], "--http", "off")
            if isinstance(wait, str)
            else bench.loop("json", name, source, [sink], wait=wait)
        )
        reader = _reader(bench, pace, sink, folder)
        with Watched([command], folder, bench.core) as program:
            _wake(bench, source)
            program.wait_for(partial(bench.taken, name, source), WAKING, every=0.05)
            idle = _cpu_each_second(program, pace.warm_up)
            before = bench.written(sink)
            writer = _writer(bench, pace, source)
            time.sleep(pace.warm_up)
            busy = _cpu_each_second(program, pace.seconds)
            writer.wait(PATIENCE)
            percentiles = _percentiles(reader, pace, folder)
            markers = bench.written(sink) - before - _count(pace)
            program.stop()
    return Paced(
        *percentiles, cpu=busy / pace.rate, idle=idle, markers=markers / _all_seconds(pace)
    )


def _waiting(max_wait: str) -> Scenario:
    scenario = BY_NAME["json"]
    batch = {"batch": {"max_wait": max_wait}} if max_wait else {}
    return replace(scenario, source={**scenario.source, **batch})


def _wake(bench: Bench, source: str) -> None:
    """A few records, until the program has joined its group and commits."""
    value = orjson.dumps({"id": -1, "amount": 1.0, "at": 0, "pad": ""})
    bench.fill(source, ((key(number), value, None) for number in range(WAKING)))


def _cpu_each_second(program: Watched, seconds: float) -> float:
    """Microseconds of CPU in a second of the time to come."""
    began, before = time.monotonic(), program.cpu_seconds()
    time.sleep(seconds)
    return (program.cpu_seconds() - before) / (time.monotonic() - began) * 1e6


def _all_seconds(pace: Pace) -> float:
    """The writer begins before the program is looked at, and ends after."""
    return pace.warm_up + pace.seconds


def _count(pace: Pace) -> int:
    return int(pace.rate * _all_seconds(pace))


def _writer(bench: Bench, pace: Pace, topic: str) -> subprocess.Popen[bytes]:
    arguments = (topic, str(pace.rate), str(_all_seconds(pace)))
    return subprocess.Popen([sys.executable, str(PACE), "write", bench.kafka.bootstrap, *arguments])


def _reader(bench: Bench, pace: Pace, topic: str, folder: Path) -> subprocess.Popen[bytes]:
    arguments = (topic, str(pace.partitions), str(_count(pace)), str(folder / "read"))
    return subprocess.Popen([sys.executable, str(PACE), "read", bench.kafka.bootstrap, *arguments])


def _percentiles(
    reader: subprocess.Popen[bytes], pace: Pace, folder: Path
) -> tuple[float, float, float]:
    """Of what was written after the warm-up, once all has been read, each once."""
    reader.wait(PATIENCE)
    found = orjson.loads((folder / "read").read_bytes())
    if sorted(number for number, _, _ in found) != list(range(_count(pace))):
        raise WrongOutputs(f"{len(found)} of {_count(pace)} came out, or some of them twice")
    first = pace.warm_up * pace.rate
    times = sorted((read - sent) * 1000 for number, sent, read in found if number >= first)
    p50, p99, p999 = (times[int(len(times) * share)] for share in (0.5, 0.99, 0.999))
    return p50, p99, p999


def latency_table(kept: Sequence[dict[str, Any]]) -> str:
    rows = ["| program | p50 ms | p99 ms | p99.9 ms | CPU us |", "|---|---|---|---|---|"]
    for result in kept:
        for name, rounds in result["rounds"].items():
            p50, p99, p999, cpu = (_median(rounds, of) for of in ("p50", "p99", "p999", "cpu"))
            spent = f"{cpu:.0f}" if cpu else "-"
            rows.append(f"| {name} | {p50:.1f} | {p99:.1f} | {p999:.1f} | {spent} |")
    return "\n".join(rows) + "\n"


def commits_table(kept: Sequence[dict[str, Any]]) -> str:
    rows = [
        "| program | CPU us a record | commits/s | CPU us a commit | idle: CPU us a second |",
        "|---|---|---|---|---|",
    ]
    for result in kept:
        for name, rounds in result["rounds"].items():
            cpu, idle, commits = (_median(rounds, of) for of in ("cpu", "idle", "markers"))
            cost = (cpu * result["rate"] - idle) / commits if commits else 0.0
            rows.append(f"| {name} | {cpu:.0f} | {commits:.1f} | {cost:,.0f} | {idle:,.0f} |")
    return "\n".join(rows) + "\n"


def _median(rounds: Sequence[dict[str, Any]], of: str) -> float:
    return statistics.median(Paced(**figures).__dict__[of] for figures in rounds)
