"""Operators in processes of their own, on real Kafka: what kills one costs its record alone."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.kit.check import problems
from tests.kit.daemon import Daemon, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project

CODE = """
    import os, time
    from pathlib import Path
    from kafka_etl import Permanent, Record

    def deadly(order: dict) -> dict:
        if order["id"] % 1000 == 7:
            os._exit(3)
        return order

    def stuck(order: dict) -> dict:
        if order["id"] % 1000 == 7:
            (Path(__file__).parent / "stuck").touch()
            time.sleep(3600)
        return order

    def judged(record: Record) -> Record:
        time.sleep(0.001)  # so that there is a middle to kill it in
        if record.value["id"] % 1000 == 7:
            raise Permanent("unlucky")
        return record.replace(headers=[("pid", b"%d" % os.getpid())])

    def slow(order: dict) -> dict:
        time.sleep(0.2)
        return order
"""


def is_bad(value: bytes | None) -> bool:
    return value is not None and json.loads(value)["id"] % 1000 == 7


def make(tmp_path: Path, kafka: Kafka, operator: str, records: int, **policies: object) -> Project:
    use = {"use": f"ops:{operator}", "isolation": "process", **policies}
    project = Project(tmp_path, kafka, code=CODE, operators=[use])
    project.produce((f"k{i % 97}", json.dumps({"id": i})) for i in range(records))
    return project


def check(project: Project) -> None:
    kafka = project.kafka
    inputs, outputs = kafka.read(project.source), kafka.read(project.sink)
    assert problems(inputs, outputs, project.dead_letters(), is_bad=is_bad) == []
    assert project.lag() == 0


def children_of(pid: int) -> set[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except OSError:
        return set()


def at_work(daemon: Daemon) -> tuple[int, set[int]]:
    """The worker and its two processes, when something more has come of them."""
    before = daemon.until(lambda _: True)["counts"]["records_out"]
    daemon.until(lambda p: p["counts"]["records_out"] > before and len(daemon.workers()) == 1)
    (worker,) = daemon.workers()
    processes = children_of(worker)
    assert len(processes) == 2
    return worker, processes


def until_gone(pids: set[int], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while left := {pid for pid in pids if Path(f"/proc/{pid}").exists()}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("operator", "size", "failure"),
    [
        ("deadly", 1, ("WorkerCrashed", "the operator's process died: exit status 3")),
        (
            "stuck",
            3,
            ("Timeout", "it took longer than 500ms, and the operator's process was killed"),
        ),
    ],
)
def test_what_kills_or_hangs_costs_itself_alone(
    tmp_path: Path, kafka: Kafka, operator: str, size: int, failure: tuple[str, str]
) -> None:
    project = make(tmp_path, kafka, operator, 3000, concurrency=size, timeout="500ms")
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert "a worker died" not in done.said()
    check(project)
    letters = project.dead_letters()
    condition, message = (f"kafka_etl.{name}" for name in ("condition", "error.message"))
    assert {(r.header(condition), r.header(message)) for r in letters} == {failure}
    assert {letter.header("kafka_etl.attempts") for letter in letters} == {"3"}


def test_kill_9_of_workers_and_of_their_processes(tmp_path: Path, kafka: Kafka) -> None:
    project = make(tmp_path, kafka, "judged", 20_000, concurrency=2)
    arguments = [str(project.file), "--until-end", "--set", "source.with.batch.max_records=500"]
    seen: set[int] = set()
    with Daemon(tmp_path, *arguments) as daemon:
        worker, processes = at_work(daemon)
        os.kill(worker, signal.SIGKILL)
        until_gone(processes)
        seen |= processes
        _, processes = at_work(daemon)
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
        seen |= processes
        assert daemon.wait(90) == 0, daemon.said()[-3000:]
    until_gone(seen)
    check(project)
    letters = project.dead_letters()
    assert {letter.header("kafka_etl.condition") for letter in letters} == {"OperatorError"}
    assert {letter.header("kafka_etl.error.message") for letter in letters} == {"unlucky"}
    assert all("in judged" in letter.header("kafka_etl.context") for letter in letters)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_they_end_with_their_daemon(tmp_path: Path, kafka: Kafka, how: str) -> None:
    project = make(tmp_path, kafka, "slow", 400, concurrency=2)
    with Daemon(tmp_path, str(project.file)) as daemon:
        worker, processes = at_work(daemon)
        if how == "kill":
            daemon.kill()
        else:
            assert daemon.stop() == 0
            assert "an operator's process died" not in daemon.said()
        until_gone({worker, *processes})
    if how == "stop":
        done = kafka.committed(project.name, project.source)
        assert sum(done.values()) == len(project.outputs()) > 0


def test_a_call_that_takes_too_long_does_not_keep_it_from_stopping(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = make(tmp_path, kafka, "stuck", 100, concurrency=2)
    project.spec["drain_timeout"] = "1s"
    project.write()
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda _: (tmp_path / "stuck").exists())
        assert daemon.stop() == 0
        assert "a worker died" not in daemon.said()
    assert project.dead_letters() == []
    assert project.lag() > 0
