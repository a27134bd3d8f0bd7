"""How long it takes from the start of a process until a committed reader has a first record."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import Consumer

from tests.bench.bench import Bench, Result, WrongOutputs
from tests.bench.measure import PATIENCE, Watched
from tests.bench.scenarios import BY_NAME

SCENARIO = BY_NAME["json"]
RECORDS = 1000
LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Start:
    seconds: float


def run(
    bench: Bench, name: str, rounds: int, records: int | None, least: int = LEAST_ROUNDS
) -> Result:
    records = records or RECORDS
    with bench.filled(SCENARIO, records) as source:
        programs = {
            program: partial(_once, bench, program, source, records) for program in ("loop", "ours")
        }
        figures = bench.in_turn(name, max(rounds, least), programs)
    return Result(name, "seconds to the first committed record", records, figures)


def _once(bench: Bench, program: str, source: str, records: int) -> Start:
    name = bench.kafka.name()
    with bench.folder() as folder, bench.topics(1) as sinks:
        command = (
            bench.ours(SCENARIO, folder, name, source, sinks, "--http", "127.0.0.1:0")
            if program == "ours"
            else bench.loop(SCENARIO.loop, name, source, sinks)
        )
        reader = bench.reader(sinks[0])
        reader.consume(1, 1)  # connected, and waiting at the ends
        with Watched([command], folder, bench.core) as running:
            _wait_for_one(reader)
            first = running.age
            running.wait_for(partial(bench.taken, name, source), records, every=0.1)
            running.stop()
        reader.close()
        bench.check(SCENARIO, sinks, records)
    return Start(first)


def _wait_for_one(reader: Consumer) -> None:
    if not [record for record in reader.consume(1, PATIENCE) if not record.error()]:
        raise WrongOutputs("nothing came out")


def table(kept: Sequence[dict[str, Any]]) -> str:
    rows = ["| program | median s | least | most |", "|---|---|---|---|"]
    for result in kept:
        for name, rounds in result["rounds"].items():
            seconds = [Start(**figures).seconds for figures in rounds]
            rows.append(
                f"| {name} | {statistics.median(seconds):.2f} "
                f"| {min(seconds):.2f} | {max(seconds):.2f} |"
            )
    return "\n".join(rows) + "\n"
