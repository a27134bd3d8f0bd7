"""Operators that misbehave: the guilty record becomes a dead letter, its neighbours do not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import Daemon, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

GUILTY = 41


def run(tmp_path: Path, kafka: Kafka, code: str, **more: Any) -> Project:
    project = Project(
        tmp_path,
        kafka,
        code=code,
        operators=[{"use": "ops:op", "timeout": "1s"}],
        partitions=2,
        **more,
    )
    project.produce(orders(100))
    return project


@pytest.mark.parametrize(
    ("deed", "condition", "error"),
    [
        ("import os; os._exit(1)", "WorkerCrashed", "exit status 1"),
        ("import ctypes; ctypes.string_at(0)", "WorkerCrashed", "killed by SIGSEGV"),
        ("import time; time.sleep(3600)", "Timeout", "stood still for more than 1s in operator op"),
        (
            # Hangs in C and never lets go of the interpreter.
            "import ctypes; ctypes.PyDLL(None).sleep(3600)",
            "Timeout",
            "stood still for more than 1s in operator op",
        ),
        ("import sys; sys.exit()", "OperatorError", "SystemExit"),
        ("raise KeyboardInterrupt", "OperatorError", "KeyboardInterrupt"),
        ("next(iter([]))", "OperatorError", "StopIteration"),
        ("return None", "OperatorError", "returned None"),
    ],
)
def test_one_bad_record_costs_one_dead_letter(
    tmp_path: Path, kafka: Kafka, deed: str, condition: str, error: str
) -> None:
    code = f"""
        def op(order: dict):
            if order["id"] == {GUILTY}:
                {deed}
            return order
    """
    project = run(tmp_path, kafka, code)
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    (letter,) = project.dead_letters()
    assert json.loads(letter.value or b"")["id"] == GUILTY
    assert letter.header("kafka_etl.condition") == condition
    said = letter.header("kafka_etl.error.type") + letter.header("kafka_etl.error.message")
    assert error in said
    assert sorted(o["id"] for o in project.outputs()) == sorted(set(range(100)) - {GUILTY})
    assert project.lag() == 0
    if condition in {"WorkerCrashed", "Timeout"}:  # each of them ran it alone
        assert letter.header("kafka_etl.attempts") == "3"
    assert "100 records in, 99 out, 0 dropped, 1 dead letters" in done.said()


def test_two_killers_side_by_side(tmp_path: Path, kafka: Kafka) -> None:
    code = """
        import os

        def op(order: dict):
            if order["id"] in (40, 41, 90):
                os.kill(os.getpid(), 9)
            return order
    """
    project = run(tmp_path, kafka, code)
    done = run_to_end(tmp_path, str(project.file), seconds=120)
    assert done.process.returncode == 0, done.said()[-3000:]
    letters = sorted(json.loads(r.value or b"")["id"] for r in project.dead_letters())
    assert letters == [40, 41, 90]
    assert len(project.outputs()) == 97


def test_an_operator_that_changes_its_input_and_fails_once_sees_the_original_again(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = """
        seen = set()

        def op(order: dict):
            order["amount"] *= 100
            order["lines"] = order.get("lines", 0) + 1
            if order["id"] not in seen:
                seen.add(order["id"])
                raise ConnectionError("once")
            return order
    """
    project = run(tmp_path, kafka, code)
    run_to_end(tmp_path, str(project.file))
    assert len(project.outputs()) == 100
    assert {o["lines"] for o in project.outputs()} == {1}
    assert {o["amount"] for o in project.outputs()} == {i % 100 * 100 + 50.0 for i in range(100)}


def test_an_import_error_is_found_before_anything_runs(tmp_path: Path, kafka: Kafka) -> None:
    project = run(tmp_path, kafka, "import no_such_module\n")
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 2
    assert "E202" in done.said()
    assert "no_such_module" in done.said()
    assert "Traceback" not in done.said()


def test_without_a_place_for_dead_letters_the_pipeline_stops_at_the_bad_record(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(
        tmp_path,
        kafka,
        code="def op(order: dict):\n    return {'x': order['id'] // (order['id'] - 41)}\n",
        operators=["ops:op"],
        partitions=1,
        dead_letters=False,
    )
    project.produce(orders(100))
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 1
    assert '"code":"E401"' in done.said()
    assert "ZeroDivisionError" in done.said()
    assert len(project.outputs()) == GUILTY
    assert kafka.committed(project.name, project.source) == {0: GUILTY}


def test_a_runaway_trips_the_breaker_before_its_dead_letters_are_written(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(
        tmp_path,
        kafka,
        code="def op(order: dict):\n    raise ValueError('a bad deployment')\n",
        operators=["ops:op"],
        partitions=1,
        dead_letter={"topic": kafka.name(), "limit": {"max_consecutive": 20}},
    )
    letters = project.spec["dead_letter"]["topic"]
    project.produce(orders(100))
    with Daemon(tmp_path, str(project.file)) as daemon:
        status = daemon.until(lambda p: p["state"] == "paused: breaker")
        assert "a bad deployment" in status["error"]["what"]
        assert len(kafka.read(letters)) < 20
        project.write_code("def op(order: dict):\n    return order\n")
        daemon.post(f"/pipelines/{project.name}/restart")
        daemon.until(lambda p: p["state"] == "running" and p["lag"]["records"] == 0)
        daemon.stop()
    assert len(kafka.read(letters)) + len(project.outputs()) == 100


def test_a_slow_operator_keeps_its_membership_and_is_stopped_in_time(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = """
        import time

        def op(order: dict):
            time.sleep(2)
            return order
    """
    project = Project(tmp_path, kafka, code=code, operators=["ops:op"], partitions=1)
    project.produce(orders(50))
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] >= 3)
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 10
    done = len(project.outputs())
    assert done >= 3
    assert kafka.committed(project.name, project.source) == {0: done}


def test_an_operator_that_cannot_start_says_why_in_the_status(tmp_path: Path, kafka: Kafka) -> None:
    code = """
        class Op:
            def open(self):
                raise ValueError("no such model")

            def __call__(self, order: dict) -> dict:
                return order
    """
    project = Project(tmp_path, kafka, code=code, operators=["ops:Op"])
    with Daemon(tmp_path, str(project.file)) as daemon:
        status = daemon.until(lambda p: p["counts"]["worker_deaths"] > 1)
        assert "ValueError: no such model" in status["trouble"]
        assert daemon.stop() == 0
