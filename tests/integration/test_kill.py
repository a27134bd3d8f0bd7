"""Killing workers and daemons at random moments: every record once, in order, no good one dead."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.kit.check import problems
from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project

RECORDS = int(os.environ.get("KILL_RECORDS", "60000"))
KILLS = int(os.environ.get("KILL_KILLS", "5"))
CODE = """
    def mark(order: dict) -> dict:
        return order | {"done": True}
"""


def make(tmp_path: Path, kafka: Kafka) -> Project:
    project = Project(
        tmp_path,
        kafka,
        code=CODE,
        operators=[{"use": "filter", "with": {"where": "value.id >= 0"}}, "ops:mark"],
    )
    project.produce(
        (f"k{i % 997}", b"{broken" if i % 1000 == 7 else json.dumps({"id": i}))
        for i in range(RECORDS)
    )
    return project


def check(project: Project) -> None:
    kafka = project.kafka
    wrong = problems(
        kafka.read(project.source),
        kafka.read(project.sink),
        project.dead_letters(),
        is_bad=lambda value: value == b"{broken",
    )
    assert wrong == []
    assert project.lag() == 0


@pytest.mark.parametrize("victim", ["worker", "daemon"])
def test_kill_9_at_random_moments(tmp_path: Path, kafka: Kafka, victim: str) -> None:
    project = make(tmp_path, kafka)
    chance = random.Random(os.environ.get("KILL_SEED", "1"))
    # Small batches, so that there is something left to kill.
    arguments = [str(project.file), "--until-end", "--set", "source.with.batch.max_records=2000"]
    kills = 0
    daemon = Daemon(tmp_path, *arguments)
    deadline = time.monotonic() + 60 + 10 * KILLS
    while kills < KILLS and time.monotonic() < deadline and daemon.process.poll() is None:
        time.sleep(chance.uniform(0.1, 2.5 if victim == "worker" else 4.0))
        if victim == "daemon":
            daemon.kill()
            daemon = Daemon(tmp_path, *arguments)
            kills += 1
        else:
            for pid in daemon.workers():
                os.kill(pid, signal.SIGKILL)
                kills += 1
    with daemon:
        assert daemon.wait(120) == 0, daemon.said()[-3000:]
    assert kills > 0
    check(project)


def test_kill_9_before_there_is_a_pipeline(tmp_path: Path, kafka: Kafka) -> None:
    """Whoever looks for memory does not ask whether preflight is over."""
    project = make(tmp_path, kafka)
    with Daemon(tmp_path, str(project.file), "--until-end") as daemon:
        killed: set[int] = set()
        while len(killed) < 2:
            daemon.until(lambda pipeline: pipeline["state"] == "preflight")
            for pid in daemon.workers():
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        assert daemon.wait(120) == 0, daemon.said()[-3000:]
        deaths = [line for line in daemon.said().splitlines() if "preflight died" in line]
        assert len(deaths) == 2
        assert all(json.loads(line)["pipeline"] == project.name for line in deaths)
    check(project)


@pytest.mark.parametrize(
    "place", ["after_begin", "after_produce", "after_send_offsets", "after_commit"]
)
def test_kill_9_in_the_middle_of_a_transaction(tmp_path: Path, kafka: Kafka, place: str) -> None:
    project = make(tmp_path, kafka)
    with Daemon(
        tmp_path,
        str(project.file),
        "--until-end",
        "--set",
        "source.with.batch.max_records=20000",
        env={"KAFKA_ETL_FAIL": f"{place}:kill@3"},
    ) as daemon:
        assert daemon.wait(120) == 0, daemon.said()[-3000:]
        assert "killed by SIGKILL" in daemon.said()
    check(project)


BESIDE = """
    import threading
    from hashlib import sha256

    def mark(order: dict) -> dict:
        for _ in range(20):  # work enough to be worth doing while the sink is at work
            sha256(bytes(200)).digest()
        beside = any(thread.name.startswith("commit") for thread in threading.enumerate())
        return order | {"done": True, "beside": beside}
"""


@pytest.mark.parametrize("place", ["after_produce", "after_send_offsets", "after_commit"])
def test_kill_9_with_a_commit_beside_the_next_batch(
    tmp_path: Path, kafka: Kafka, place: str
) -> None:
    project = make(tmp_path, kafka)
    project.write_code(BESIDE)
    with Daemon(
        tmp_path,
        str(project.file),
        "--until-end",
        "--set",
        "source.with.batch.max_records=2000",
        env={"KAFKA_ETL_FAIL": f"{place}:kill@7"},
    ) as daemon:
        assert daemon.wait(200) == 0, daemon.said()[-3000:]
        assert "killed by SIGKILL" in daemon.said()
    assert any(order["beside"] for order in project.outputs())
    check(project)


def test_the_status_tells_of_a_death_and_of_what_cannot_be_resumed(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(tmp_path, kafka, workers=2)
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["state"] == "running" and p["partitions"] == 4)
        os.kill(daemon.workers()[0], signal.SIGKILL)
        status = daemon.until(lambda p: p["counts"]["worker_deaths"] == 1)
        assert "a worker died: killed by SIGKILL" in status["trouble"]
        daemon.until(lambda p: p["trouble"] is None and p["workers"] == 2)
        shown = command("status", "--http", daemon.http, cwd=tmp_path)
        assert shown.stdout.endswith(f"\n{project.name}: 1 worker death\n")
        resumed = command("resume", project.name, "--http", daemon.http, cwd=tmp_path)
        assert resumed.returncode == 1
        assert "is not paused: it is running" in resumed.stderr
        for verb in ("pause", "resume"):
            done = command(verb, project.name, "--http", daemon.http, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert daemon.stop() == 0
