"""Peak resident memory of each process, with small records and with large ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from tests.bench.bench import Bench, Result
from tests.bench.measure import Figures
from tests.bench.scenarios import BY_NAME
from tests.bench.values import once_loop, once_ours

CASES = ("json", "large")
ROLES = ("daemon", "worker")


def run(
    bench: Bench, name: str, rounds: int, records: int | None, cases: Iterable[str] = CASES
) -> Result:
    figures: dict[str, list[Figures]] = {}
    for scenario in map(BY_NAME.__getitem__, cases):
        some = records or scenario.records
        with bench.filled(scenario, some) as source:
            loop = partial(once_loop, bench, scenario, scenario.loop, source, some)
            ours = partial(once_ours, bench, scenario, source, some)
            programs = {f"{scenario.name} loop": loop, f"{scenario.name} ours": ours}
            figures |= bench.in_turn(name, rounds, programs)
    return Result(name, "peaks of resident memory", records or 0, figures)


def table(kept: Sequence[dict[str, Any]]) -> str:
    rows = [f"| scenario | {' | '.join(ROLES)} | loop |", "|---|---|---|---|"]
    for result in kept:
        for name, rounds in result["rounds"].items():
            scenario, program = name.split()
            if program == "ours":
                sizes = [_most(rounds, role) for role in ROLES]
                loop = _most(result["rounds"][f"{scenario} loop"], "loop")
                rows.append(f"| `{scenario}` | {' | '.join(sizes)} | {loop} |")
    return "\n".join(rows) + "\n"


def _most(rounds: Sequence[dict[str, Any]], role: str) -> str:
    return f"{max(Figures(**figures).rss.get(role, 0.0) for figures in rounds):.0f}"
