"""Every scenario runs and its outputs are right, ours and the loop's; nothing here is timed.

What is lost, doubled or out of order raises WrongOutputs where it is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from kafka_etl.schema_registry.wire_format import HEAD
from tests.bench import (
    concurrency,
    loops,
    memory,
    paced,
    parts,
    report,
    start,
    tasks,
    values,
    workers,
)
from tests.bench.bench import Bench, Result, WrongOutputs, bench
from tests.bench.kinds import KINDS, NAMES, tables
from tests.bench.libraries import columns
from tests.bench.scenarios import BY_NAME, SCENARIOS, Scenario, order
from tests.kit.kafka import Kafka
from tests.kit.registry import register, stand_in

RECORDS = 400


@pytest.fixture(scope="module")
def running() -> Iterator[Bench]:
    with bench(lambda _text: None, pin=False) as started:
        yield started


def rows(result: Result) -> list[str]:
    """Of its table, once it has been kept."""
    [kind] = [kind for kind in KINDS if result.scenario in kind.scenarios]
    return kind.table([report.content(result)]).splitlines()[2:]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_values(running: Bench, scenario: Scenario) -> None:
    only = None if scenario.others else ("loop", "ours")
    result = values.run(running, scenario.name, 1, RECORDS, only)
    assert result.rounds.keys() == {
        "loop",
        "ours",
        *(("again", *scenario.others) if not only else ()),
    }
    assert result.rounds["ours"][0].start > 0


def test_io(running: Bench) -> None:
    result = concurrency.run(running, "io", 1, RECORDS * 8, counts=[16])
    assert [row.split(" | ")[:2] for row in rows(result)] == [
        ["| blocking", "16"],
        ["| async", "16"],
    ]


def test_workers(running: Bench) -> None:
    assert len(rows(workers.run(running, "workers", 1, RECORDS, counts=[2]))) == 1


def test_start(running: Bench) -> None:
    result = start.run(running, "start", 1, RECORDS, least=1)
    assert all(rounds[0].seconds > 0 for rounds in result.rounds.values())


def test_memory_is_told_apart(running: Bench) -> None:
    result = memory.run(running, "memory", 1, RECORDS, cases=["json"])
    [ours], [loop] = result.rounds["json ours"], result.rounds["json loop"]
    assert ours.rss.keys() == set(memory.ROLES)
    assert loop.rss.keys() == {"loop"}
    assert ours.memory == ours.rss["daemon"] + ours.rss["worker"]


def test_latency_is_that_of_each_record(running: Bench) -> None:
    pace = short("latency", "straight", "ours, max_wait 5ms", "loop, 5 ms")
    for [figures] in paced.run(running, "latency", 1, None, pace).rounds.values():
        assert 0 < figures.p50 <= figures.p99 <= figures.p999


def test_small_batches_count_commits(running: Bench) -> None:
    pace = short("small-batches", "ours", "loop, 10 ms")
    for [figures] in paced.run(running, "small-batches", 1, None, pace).rounds.values():
        assert 0 < figures.markers <= pace.rate


def test_tasks_are_restored_and_listed(
    kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks.restore(kafka, tmp_path, 200)
    tasks.listing(kafka, tmp_path, 200)
    told = capsys.readouterr().out
    assert "200 finished and 2 open tasks" in told
    assert "the index alone, all states, 20 rows" in told


def short(name: str, *programs: str) -> paced.Pace:
    pace = paced.PACES[name]
    chosen = {program: pace.programs[program] for program in programs}
    return replace(pace, rate=200, seconds=0.5, warm_up=0.5, programs=chosen)


@pytest.mark.parametrize("wrong", ["lost", "out of order"])
def test_wrong_outputs_are_noticed(running: Bench, wrong: str) -> None:
    scenario = SCENARIOS[0]
    numbers = range(RECORDS - 1) if wrong == "lost" else reversed(range(RECORDS))
    one_key = ((b"k", order(number), None) for number in numbers)
    with running.topics(1) as (topic,):
        running.fill(topic, one_key)
        with pytest.raises(
            WrongOutputs, match="1 records are lost" if wrong == "lost" else "after"
        ):
            running.check(scenario, [topic], RECORDS)


class Input:
    """As much of the client's record as the loops look at."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes:
        return b"k"


def produced(loop: str, value: bytes) -> bytes:
    found: list[Any] = []
    loops.batch_of(loop)([Input(value)], lambda *record: found.append(record), ["sink"])
    [(topic, out, key)] = found
    assert (topic, key) == ("sink", b"k")
    return out


def test_the_loop_of_columns_has_twenty_expressions() -> None:
    before = order(7)
    after = orjson.loads(produced("columnar_json", before))
    assert len(after) == len(orjson.loads(before)) + 20
    assert (after["total"], after["label"], after["bucket"]) == (8.4, "USD-order", 7)


def test_the_loop_of_avro_keeps_the_wire_format() -> None:
    fastavro = pytest.importorskip("fastavro")
    import io  # noqa: PLC0415

    schema = fastavro.parse_schema(loops.AVRO)
    value = io.BytesIO(b"\0\0\0\0\1")
    value.seek(5)
    fastavro.schemaless_writer(value, schema, {**orjson.loads(order(7)), "total": None})
    out = produced("avro", value.getvalue())
    assert out[:5] == b"\0\0\0\0\1"
    assert fastavro.schemaless_reader(io.BytesIO(out[5:]), schema, None)["total"] == 8.4


@pytest.mark.parametrize("name", ["columnar-json", "columnar-json-one", "columnar-avro"])
def test_libraries_alone_do_the_same_work(name: str, tmp_path: Path) -> None:
    scenario = BY_NAME[name]
    with stand_in() as registry:
        for schema in loops.SCHEMAS:
            register(registry.url, schema, loops.SCHEMAS[schema])
        chain = parts.chain_of(scenario, tmp_path, registry.url)
        records = [parts.record(scenario, number) for number in range(100)]
        outputs, _ = chain.attempt(records)
    alone = columns(scenario, chain.operators[0].operator.call)
    head = HEAD if scenario.schema else 0
    assert alone([record.value() or b"" for record in records]) == [
        value[head:] for value in outputs.values
    ]


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_the_page_has_the_tables_of_what_is_kept() -> None:
    page = report.PAGE.read_text()
    assert report.page_with(tables(), page) == page
