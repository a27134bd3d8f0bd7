"""What user code does to the process that runs it, and what an error of the engine costs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kit.daemon import run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders


def project_of(tmp_path: Path, kafka: Kafka, code: str, records: int = 100) -> Project:
    project = Project(tmp_path, kafka, code=code, operators=["ops:op"], partitions=2)
    project.produce(orders(records))
    return project


def test_an_error_of_the_engine_is_blamed_on_a_record_like_a_crash(
    tmp_path: Path, kafka: Kafka
) -> None:
    """No record's fault is looked for in code that nobody expects to fail: careful mode does."""
    code = """
        import json
        from kafka_etl.engine.attempt.invoker import Invoker

        run = Invoker.run

        def failing(self, invocation, wait):
            if any(json.loads(r.value())["id"] == 41 for r in invocation.batch.records):
                raise KeyError("a fault of the engine")
            return run(self, invocation, wait)

        Invoker.run = failing

        def op(order: dict):
            return order
    """
    project = project_of(tmp_path, kafka, code)
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    (letter,) = project.dead_letters()
    assert json.loads(letter.value or b"")["id"] == 41
    assert letter.header("kafka_etl.condition") == "WorkerCrashed"
    assert "a fault of the engine" in letter.header("kafka_etl.error.message")
    assert sorted(o["id"] for o in project.outputs()) == sorted(set(range(100)) - {41})


def test_a_copy_that_an_operator_forks_and_lets_return_does_nothing(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = """
        import os

        def op(order: dict):
            if order["id"] == 41:
                os.fork()  # and both go on
            return order
    """
    project = project_of(tmp_path, kafka, code)
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert sorted(o["id"] for o in project.outputs()) == list(range(100))
    assert project.dead_letters() == []


def test_processes_that_an_operator_forks_can_be_ended(tmp_path: Path, kafka: Kafka) -> None:
    """They would be deaf with the worker's handlers, and a pool of them would never end."""
    code = """
        import multiprocessing
        import signal
        import time

        fork = multiprocessing.get_context("fork")

        def op(order: dict):
            if order["id"] == 41:
                process = fork.Process(target=time.sleep, args=(3600,))
                process.start()
                process.terminate()
                process.join(20)
                return {**order, "ended": process.exitcode == -signal.SIGTERM}
            return order
    """
    project = project_of(tmp_path, kafka, code)
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert [o["ended"] for o in project.outputs() if o["id"] == 41] == [True]


def test_prints_of_an_operator_do_not_get_between_the_lines_of_stdout(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = """
        import os
        import sys

        print("at import", end="")

        def op(order: dict):
            print(".", end="")
            os.system("echo from a shell")
            os.write(1, b"raw")
            sys.stdout.flush()
            return order
    """
    project = project_of(tmp_path, kafka, code, records=20)
    project.spec["sink"] = {"use": "stdout"}
    project.write()
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    lines = done.stdout.read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == list(range(20))
    assert "from a shell" in done.said()
    assert "at import" in done.said()


def test_a_task_that_survives_its_cancellation_costs_its_record(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = """
        import asyncio

        async def op(order: dict):
            try:
                await asyncio.sleep(3600 if order["id"] == 41 else 0)
            finally:
                if order["id"] == 41:
                    await asyncio.sleep(3600)
            return order
    """
    project = Project(
        tmp_path,
        kafka,
        code=code,
        operators=[{"use": "ops:op", "timeout": "300ms", "concurrency": 4}],
        partitions=2,
        retry={"max_attempts": 1},
    )
    project.produce(orders(100))
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    (letter,) = project.dead_letters()
    assert json.loads(letter.value or b"")["id"] == 41
    assert letter.header("kafka_etl.condition") == "Timeout"
    assert len(project.outputs()) == 99


def test_an_operator_that_ruins_its_process_costs_its_record(tmp_path: Path, kafka: Kafka) -> None:
    """The process dies later, in no operator: its successors take one record at a time."""
    code = """
        import os

        def op(order: dict):
            if order["id"] == 41:
                for number in range(3, 60):
                    try:
                        os.write(number, b"\\x00\\x00\\x00\\x05hello")
                    except OSError:
                        pass
            return order
    """
    project = project_of(tmp_path, kafka, code)
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    (letter,) = project.dead_letters()
    assert json.loads(letter.value or b"")["id"] == 41
    assert letter.header("kafka_etl.condition") == "WorkerCrashed"
    assert sorted(o["id"] for o in project.outputs()) == sorted(set(range(100)) - {41})


def test_a_worker_that_ends_itself_by_a_signal_is_started_again(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = """
        import os
        import signal

        def op(order: dict):
            if order["id"] == 41:
                os.kill(os.getpid(), signal.SIGTERM)
            return order
    """
    project = project_of(tmp_path, kafka, code)
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert sorted(o["id"] for o in project.outputs()) == list(range(100))


def test_records_that_all_fail_are_tried_again_together(tmp_path: Path, kafka: Kafka) -> None:
    """Else every slice would shrink to the record or two that fit between two waits."""
    code = """
        def op(order: dict):
            raise RuntimeError("a class that could pass")
    """
    project = Project(
        tmp_path,
        kafka,
        code=code,
        operators=["ops:op"],
        partitions=1,
        retry={"max_attempts": 3, "backoff": {"initial": "300ms", "jitter": "none"}},
        dead_letter={"topic": kafka.topic(1), "limit": {"max_consecutive": 100_000}},
    )
    project.produce(orders(3000))
    done = run_to_end(tmp_path, str(project.file), seconds=60)
    assert done.process.returncode == 0, done.said()[-3000:]
    assert len(kafka.read(project.spec["dead_letter"]["topic"])) == 3000


def test_a_file_named_like_a_module_of_python_is_in_nobodys_way(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = project_of(tmp_path, kafka, "def op(order: dict):\n    return order\n")
    for name in ("random", "queue", "types", "nt"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert len(project.outputs()) == 100
