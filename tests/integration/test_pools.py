"""Operators that wait for something, many records at a time, on real Kafka."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.kit.check import problems
from tests.kit.daemon import Daemon, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project

CODE = """
    import asyncio, time
    from kafka_etl import Permanent

    def blocking(order: dict) -> dict:
        time.sleep(0.005)
        return judged(order)

    async def waiting(order: dict) -> dict:
        await asyncio.sleep(0.005)
        return judged(order)

    async def stuck(order: dict) -> dict:
        await asyncio.sleep(3600 if order["id"] % 100 == 7 else 0.001)
        return order

    def judged(order: dict) -> dict:
        if order["id"] % 100 == 7:
            raise Permanent("unlucky")
        return order
"""


def is_bad(value: bytes | None) -> bool:
    return value is not None and json.loads(value)["id"] % 100 == 7


def make(tmp_path: Path, kafka: Kafka, operator: str, records: int, **policies: object) -> Project:
    use = {"use": f"ops:{operator}", "concurrency": 64, **policies}
    project = Project(tmp_path, kafka, code=CODE, operators=[use])
    project.produce((f"k{i % 997}", json.dumps({"id": i})) for i in range(records))
    return project


def check(project: Project) -> None:
    kafka = project.kafka
    inputs, outputs = kafka.read(project.source), kafka.read(project.sink)
    assert problems(inputs, outputs, project.dead_letters(), is_bad=is_bad) == []
    assert project.lag() == 0


@pytest.mark.parametrize("operator", ["blocking", "waiting"])
def test_each_record_once_and_in_order_though_a_worker_is_killed(
    tmp_path: Path, kafka: Kafka, operator: str
) -> None:
    project = make(tmp_path, kafka, operator, 20_000)
    arguments = [str(project.file), "--until-end", "--set", "source.with.batch.max_records=4000"]
    with Daemon(tmp_path, *arguments) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] > 0)
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        assert daemon.wait(90) == 0, daemon.said()[-3000:]
        assert "killed by SIGKILL" in daemon.said()
    check(project)


def test_a_record_that_takes_too_long_costs_itself_alone(tmp_path: Path, kafka: Kafka) -> None:
    project = make(tmp_path, kafka, "stuck", 500, timeout="500ms", retry={"max_attempts": 1})
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert "a worker died" not in done.said()
    check(project)
    letters = project.dead_letters()
    assert {letter.header("kafka_etl.condition") for letter in letters} == {"Timeout"}
