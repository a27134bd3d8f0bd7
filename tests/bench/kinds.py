"""The kinds of measurement: what can be run, and the table each has on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.bench import concurrency, memory, paced, parts, peers, report, start, values, workers
from tests.bench.bench import Bench, Result
from tests.bench.scenarios import SCENARIOS


@dataclass(frozen=True)
class Kind:
    """One file beside this one.

    Attributes:
        name: Of its table.
        run: (where, scenario, rounds, records or as many as it wants) -> figures.
        pin: Whether the program has a core of its own, and the broker the others.
        usual: Whether it is run when nothing is named.
    """

    name: str
    scenarios: Sequence[str]
    run: Callable[[Bench, str, int, int | None], Result]
    table: report.Table
    pin: bool = True
    usual: bool = True


KINDS = [
    Kind("values", [scenario.name for scenario in SCENARIOS], values.run, values.table),
    Kind("io", ["io"], concurrency.run, concurrency.table),
    Kind("peers", ["peers"], peers.run, peers.table, usual=False),
    Kind("memory", ["memory"], memory.run, memory.table),
    Kind("latency", ["latency"], paced.run, paced.latency_table, pin=False),
    Kind("small-batches", ["small-batches"], paced.run, paced.commits_table, pin=False),
    Kind("workers", ["workers"], workers.run, workers.table, pin=False),
    Kind("start", ["start"], start.run, start.table, pin=False),
]
NAMES = [name for kind in KINDS for name in kind.scenarios]
USUAL = [name for kind in KINDS if kind.usual for name in kind.scenarios]


def tables() -> Iterator[tuple[str, str]]:
    """Name and text of each, from what is kept."""
    for kind in KINDS:
        yield kind.name, kind.table(report.kept(kind.scenarios))
    yield "parts", parts.table(report.kept(["parts"]))
