"""Operators that wait, many records at a time: how near to N times as fast N of them are.

Order per key is checked at the sink, as everywhere. Batches are of as many records as are done in
about half a second, for both: what is measured is the waiting, not the end of a batch.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from tests.bench.bench import Bench, Result
from tests.bench.loops import PAUSE
from tests.bench.measure import Figures
from tests.bench.scenarios import Scenario
from tests.bench.values import once_loop, once_ours

COUNTS = (1, 16, 64, 128)
RECORDS = 128_000  # at the highest of them; fewer where it takes longer
_LOOPS = {"blocking": "threads", "async": "tasks"}
_CODE = {
    "blocking": f"""
        import time

        def op(order: dict) -> dict:
            time.sleep({PAUSE})
            order["total"] = order["amount"] * 1.2
            return order
    """,
    "async": f"""
        import asyncio

        async def op(order: dict) -> dict:
            await asyncio.sleep({PAUSE})
            order["total"] = order["amount"] * 1.2
            return order
    """,
}


def run(
    bench: Bench, name: str, rounds: int, records: int | None, counts: Iterable[int] = COUNTS
) -> Result:
    records = records or RECORDS
    figures: dict[str, list[Figures]] = {}
    for count in counts:
        some = records * count // max(COUNTS)
        with bench.filled(_scenario("async", count), some) as source:
            programs: dict[str, Callable[[], Figures]] = {}
            for way in _LOOPS:
                this = _scenario(way, count)
                ours = partial(once_ours, bench, this, source, some)
                loop = partial(once_loop, bench, this, this.loop, source, some)
                programs |= {f"{way} {count} loop": loop, f"{way} {count} ours": ours}
            figures |= bench.in_turn(name, rounds, programs)
    return Result(name, f"operators that wait {PAUSE * 1000:.0f} ms", records, figures)


def _scenario(way: str, count: int) -> Scenario:
    size = min(10_000, 100 * count)
    return Scenario(
        "io",
        way,
        f"{_LOOPS[way]}-{count}",
        cpu=0.0,
        code=_CODE[way],
        operators=({"use": "ops:op", "concurrency": count},),
        source={"value": "json", "batch": {"max_records": size}},
        size=size,
    )


def table(kept: Sequence[dict[str, Any]]) -> str:
    rows = [
        "| operator | N | records/s | of N times one | CPU us | loop: records/s | of N | CPU us |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in kept:
        for name in result["rounds"]:
            way, count, program = name.split()
            if program == "ours":
                ours, loop = (_row(result["rounds"], way, count, p) for p in ("ours", "loop"))
                rows.append(f"| {way} | {count} | {ours} | {loop} |")
    return "\n".join(rows) + "\n"


def _row(rounds: dict[str, list[dict[str, Any]]], way: str, count: str, program: str) -> str:
    figures = [Figures(**f) for f in rounds[f"{way} {count} {program}"]]
    rate = statistics.median(f.rate for f in figures)
    one = [f["rate"] for f in rounds.get(f"{way} 1 {program}", ())]
    share = f"{rate / statistics.median(one) / int(count):.2f}" if any(one) else "-"
    return f"{rate:,.0f} | {share} | {statistics.median(f.cpu for f in figures):.0f}"
