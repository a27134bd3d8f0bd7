"""`python -m tests.bench.parts [SCENARIO…]`: where a record's time goes, without a broker.

Ten thousand records in memory, again and again, through the engine of a scenario's pipeline and
through its loop; both hand what they make to a producer that is connected to nothing. CPU
microseconds of this process for each record, the median of many. What the client takes to fetch
and to send is not in here. Without a name all scenarios are measured, and the figures kept.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from logging import NullHandler, getLogger
from pathlib import Path
from typing import Any

from confluent_kafka import Message, Producer

from kafka_etl.config.build import build
from kafka_etl.config.load import load
from kafka_etl.contracts import Preflight
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.functions.signature import TABLES
from kafka_etl.kafka.transactions.produce import produce_outputs
from kafka_etl.plugins import PluginRegistry
from kafka_etl.runtime.worker.chains import make_chain
from kafka_etl.runtime.worker.deployments import deployment_of
from tests.bench import report
from tests.bench.libraries import columns
from tests.bench.loops import ALLOCATOR, SCHEMAS, batch_of
from tests.bench.scenarios import BY_NAME, SCENARIOS, Scenario
from tests.kit.registry import register, stand_in

RECORDS = 10_000
TIMES = 15
PARTS = ("decode", "operators", "encode", "produce")
NOWHERE = {
    "bootstrap.servers": "127.0.0.1:1",
    "reconnect.backoff.ms": 100_000,
    "reconnect.backoff.max.ms": 1_000_000,
    "log_level": 0,
}

Parts = dict[str, float]


def main(names: Sequence[str]) -> None:
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:  # read when a process starts
        again = [sys.executable, *sys.orig_argv[1:]]
        os.execve(again[0], again, {**os.environ, **ALLOCATOR})  # noqa: S606
    gc.collect()
    gc.freeze()
    gc.set_threshold(20 * RECORDS)
    found: dict[str, Parts] = {}
    with stand_in() as registry:
        for name, schema in SCHEMAS.items():
            register(registry.url, name, schema)
        for name in names or [s.name for s in SCENARIOS if not s.dead_letters]:
            found[name] = parts(BY_NAME[name], registry.url)
            sys.stderr.write(f"{name}: {found[name]}\n")
    kept = {"scenario": "parts", "measured_on": report.surroundings(), "parts": found}
    sys.stdout.write(table([kept]))
    if not names:
        report.save(kept)


def table(kept: Sequence[dict[str, Any]]) -> str:
    """The loop has one part; only columns have libraries to be compared with."""
    rows = [
        "| scenario | decode | operators | encode | produce | all | the loop | libraries alone |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in ((n, f) for result in kept for n, f in result["parts"].items()):
        cells = [found[part] for part in PARTS]
        libraries = f"{found['libraries']:.2f}" if "libraries" in found else "-"
        shown = " | ".join(f"{cell:.2f}" for cell in [*cells, sum(cells), found["loop"]])
        rows.append(f"| {name} | {shown} | {libraries} |")
    return "\n".join(rows) + "\n"


def parts(scenario: Scenario, registry: str) -> Parts:
    """Microseconds a record, by what they are spent on."""
    with tempfile.TemporaryDirectory() as folder:
        chain = chain_of(scenario, Path(folder), registry)
    logger = getLogger("nowhere")
    logger.addHandler(NullHandler())
    producer = Producer({**NOWHERE, "queue.buffering.max.messages": 10**6}, logger=logger)
    records = [record(scenario, number) for number in range(RECORDS)]
    loop = batch_of(scenario.loop)
    timed: dict[str, list[float]] = {}

    def note(part: str, seconds: float) -> None:
        timed.setdefault(part, []).append(seconds / RECORDS * 1e6)

    of_libraries = None
    if any(operate.operator.shape.takes in TABLES for operate in chain.operators):
        of_libraries = columns(scenario, chain.operators[0].operator.call)
        values = [record.value() or b"" for record in records]
    for _ in range(TIMES):
        outputs, _ = chain.attempt(records)
        spent = chain.spent
        for part in PARTS[:-1]:
            note(part, getattr(spent, part))
            setattr(spent, part, 0.0)
        note("produce", cpu(partial(produce_outputs, producer, "sink", outputs)))
        let_go(producer)
        note("loop", cpu(lambda: loop(records, producer.produce, ["sink", "other"])))
        let_go(producer)
        if of_libraries is not None:
            note("libraries", cpu(partial(of_libraries, values)))
    return {part: round(statistics.median(took), 3) for part, took in timed.items()}


def chain_of(scenario: Scenario, folder: Path, registry: str) -> Chain:
    """The stages as a worker makes them."""
    (folder / "ops.py").write_text(scenario.module().replace("OTHER", "other"))
    more = {} if scenario.schema is None else {"registry": {"url": registry}}
    spec = scenario.pipeline("parts", "127.0.0.1:1", "source", ["sink", "other"], **more)
    (folder / "pipeline.yaml").write_text(json.dumps(spec))
    sys.path.insert(0, str(folder))
    sys.modules.pop("ops", None)
    try:
        (document,) = load([folder], env={}).documents
        pipeline = build(document, PluginRegistry.installed())
    finally:
        sys.path.remove(str(folder))
    pools = Pools(pipeline.operators, lambda: None)
    place = deployment_of(pipeline, "parts", Preflight())
    return make_chain(pipeline, place, lambda _stage: None, pools)


def record(scenario: Scenario, number: int) -> Message:
    key, value, headers = scenario.make(number)
    return Message(  # type: ignore[call-arg]  # the stub knows no arguments
        topic="source",
        partition=number % 4,
        offset=number,
        key=key,
        value=value,
        headers=headers,
        timestamp=(1, 1_700_000_000_000),
    )


def cpu(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def let_go(producer: Producer) -> None:
    producer.purge()
    producer.poll(0)


if __name__ == "__main__":
    main(sys.argv[1:])
