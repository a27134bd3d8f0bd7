"""More than one worker, beside as many processes of the loop, of one consumer group."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from tests.bench.bench import Bench, Result
from tests.bench.measure import Figures, Watched, measure
from tests.bench.scenarios import BY_NAME

SCENARIO = BY_NAME["json"]
RECORDS = 1_000_000
COUNTS = (1, 2)


def run(
    bench: Bench, name: str, rounds: int, records: int | None, counts: Iterable[int] = COUNTS
) -> Result:
    records = records or RECORDS
    with bench.filled(SCENARIO, records) as source:
        programs = {
            f"{count} {program}": partial(_once, bench, program, count, source, records)
            for count in counts
            for program in ("loop", "ours")
        }
        figures = bench.in_turn(name, rounds, programs)
    return Result(name, f"`{SCENARIO.name}` with more than one worker", records, figures)


def _once(bench: Bench, program: str, count: int, source: str, records: int) -> Figures:
    name = bench.kafka.name()
    with bench.folder() as folder, bench.topics(1) as sinks:
        if program == "ours":
            commands = [bench.ours(SCENARIO, folder, name, source, sinks, workers=count)]
        else:  # which cannot know how many the others will take
            commands = [bench.loop(SCENARIO.loop, name, source, sinks)] * count
        with Watched(commands, folder, bench.core) as running:
            figures = measure(
                running,
                records=records,
                outputs=records,
                done=partial(bench.written, *sinks),
                over=None if program == "ours" else partial(bench.taken, name, source),
            )
        bench.check(SCENARIO, sinks, records)
    return figures


def table(kept: Sequence[dict[str, Any]]) -> str:
    rows = [
        "| workers | records/s | of one | CPU us | loop: records/s | of one | CPU us |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in kept:
        for name in result["rounds"]:
            count, program = name.split()
            if program == "ours":
                ours, loop = (_row(result["rounds"], count, p) for p in ("ours", "loop"))
                rows.append(f"| {count} | {ours} | {loop} |")
    return "\n".join(rows) + "\n"


def _row(rounds: dict[str, list[dict[str, Any]]], count: str, program: str) -> str:
    figures = [Figures(**f) for f in rounds[f"{count} {program}"]]
    rate = statistics.median(f.rate for f in figures)
    one = [f["rate"] for f in rounds.get(f"1 {program}", ())]
    share = f"{rate / statistics.median(one):.2f}" if any(one) else "-"
    return f"{rate:,.0f} | {share} | {statistics.median(f.cpu for f in figures):.2f}"
