"""Ours beside the loop, as fast as they go: CPU a record and records a second."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any

from tests.bench.bench import Bench, Result
from tests.bench.measure import Figures, Watched, measure
from tests.bench.scenarios import BY_NAME, Scenario

PROGRAMS = ("loop", "ours", "again")


def run(
    bench: Bench, name: str, rounds: int, records: int | None, only: Container[str] | None = None
) -> Result:
    """The loop runs twice a round: `again` against `loop` is the noise."""
    scenario = BY_NAME[name]
    records = records or scenario.records
    with bench.filled(scenario, records) as source:

        def loop(loop_name: str) -> Figures:
            return once_loop(bench, scenario, loop_name, source, records)

        programs: dict[str, Callable[[], Figures]] = {
            "loop": partial(loop, scenario.loop),
            "ours": partial(once_ours, bench, scenario, source, records),
            "again": partial(loop, scenario.loop),
            **{other: partial(loop, other) for other in scenario.others},
        }
        chosen = {name: once for name, once in programs.items() if only is None or name in only}
        figures = bench.in_turn(name, rounds, chosen)
    return Result(name, scenario.about, records, figures, {"wanted_cpu": scenario.cpu})


def once_ours(bench: Bench, scenario: Scenario, source: str, records: int) -> Figures:
    with bench.folder() as folder, bench.topics(scenario.sinks) as sinks:
        command = bench.ours(scenario, folder, bench.kafka.name(), source, sinks)
        with Watched([command], folder, bench.core) as program:
            return _measured(bench, scenario, program, sinks, records)


def once_loop(bench: Bench, scenario: Scenario, loop: str, source: str, records: int) -> Figures:
    with bench.folder() as folder, bench.topics(scenario.sinks) as sinks:
        name, size = bench.kafka.name(), scenario.size
        command = bench.loop(loop, name, source, sinks, records, size)
        with Watched([command], folder, bench.core) as program:
            return _measured(bench, scenario, program, sinks, records)


def _measured(
    bench: Bench, scenario: Scenario, program: Watched, sinks: list[str], records: int
) -> Figures:
    figures = measure(
        program,
        records=records,
        outputs=records if scenario.dead_letters else scenario.outputs(records),
        done=partial(bench.written, *sinks),
    )
    bench.check(scenario, sinks, records)
    return figures


def rounds_of(result: dict[str, Any]) -> dict[str, list[Figures]]:
    """Program -> its figures, as they were kept."""
    return {name: [Figures(**f) for f in runs] for name, runs in result["rounds"].items()}


def table(kept: Sequence[dict[str, Any]]) -> str:
    rows = [
        "| scenario | records/s | CPU us | CPU to the loop's | rate to the loop's | A/A | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in kept:
        rounds = rounds_of(result)
        loop = rounds["loop"]
        noise = _ratio(rounds.get("again", ()), loop, _cpu)
        name = result["scenario"]
        rows.append(_row(f"{name}: {result['about']}", rounds["ours"], loop, noise))
        rows += [
            _row(f"{name}: the loop `{other}` instead of ours", figures, loop, "-")
            for other, figures in rounds.items()
            if other not in PROGRAMS
        ]
    return "\n".join(rows) + "\n"


def _row(label: str, figures: Sequence[Figures], loop: Sequence[Figures], noise: str) -> str:
    return (
        f"| {label} "
        f"| {statistics.median(map(_rate, figures)):,.0f} "
        f"| {statistics.median(map(_cpu, figures)):.2f} "
        f"| {_ratio(figures, loop, _cpu)} | {_ratio(figures, loop, _rate)} "
        f"| {noise} | {max(f.memory for f in figures):.0f} |"
    )


def _cpu(figures: Figures) -> float:
    return figures.cpu


def _rate(figures: Figures) -> float:
    return figures.rate


def _ratio(ours: Sequence[Figures], loop: Sequence[Figures], of: Callable[[Figures], float]) -> str:
    """Median of the ratios round by round, and their spread: rounds saw the same weather."""
    ratios = [of(a) / of(b) for a, b in zip(ours, loop, strict=False) if of(a) and of(b)]
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
