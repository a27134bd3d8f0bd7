"""More than one worker, beside as many processes of the loop, of one consumer group.

The records are there but cannot be read, in an open transaction, until each process has its share
of the partitions: else the first to join would take most of them before the others come.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from tests.bench.bench import PARTITIONS, Bench, Result
from tests.bench.measure import Figures, Watched, measure
from tests.bench.scenarios import BY_NAME

SCENARIO = BY_NAME["json"]
RECORDS = 1_000_000
COUNTS = (1, 2)


def run(
    bench: Bench, name: str, rounds: int, records: int | None, counts: Iterable[int] = COUNTS
) -> Result:
    records = records or RECORDS
    programs = {
        f"{count} {program}": partial(_once, bench, program, count, records)
        for count in counts
        for program in ("loop", "ours")
    }
    figures = bench.in_turn(name, rounds, programs)
    return Result(name, f"`{SCENARIO.name}` with more than one worker", records, figures)


def _once(bench: Bench, program: str, count: int, records: int) -> Figures:
    name = bench.kafka.name()
    inputs = map(SCENARIO.make, range(records))
    with (
        bench.folder() as folder,
        bench.topics(2) as (source, sink),
        bench.hidden(source, inputs) as show,
    ):
        commands = (
            [bench.ours(SCENARIO, folder, name, source, [sink], "--http", "off", workers=count)]
            if program == "ours"
            else [bench.loop(SCENARIO.loop, name, source, [sink])] * count
        )
        with Watched(commands, folder, bench.core) as running:
            running.wait_for(partial(_settled, bench, name, count), count, every=0.1)
            show()
            ends = partial(bench.kafka.ends, source)
            running.wait_for(lambda: sum(ends().values()), records + PARTITIONS)
            figures = measure(
                running,
                records=records,
                outputs=records,
                done=partial(bench.written, sink),
                over=partial(_taken, bench, name, source, ends()),
            )
        bench.check(SCENARIO, [sink], records)
    return figures


def _settled(bench: Bench, group: str, members: int) -> int:
    """How many have partitions; 0 while some of these are on their way."""
    found = bench.kafka.admin.describe_consumer_groups([group])[group].result(20).members
    shares = [len(member.assignment.topic_partitions) for member in found]
    return sum(map(bool, shares)) if sum(shares) == PARTITIONS and len(shares) == members else 0


def _taken(bench: Bench, group: str, source: str, ends: dict[int, int]) -> int:
    """Inputs whose offsets are committed; the last offset of a partition is the marker's."""
    committed = bench.kafka.committed(group, source)
    return sum(min(max(offset, 0), ends[number] - 1) for number, offset in committed.items())


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
