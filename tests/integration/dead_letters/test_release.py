"""`kafka-etl dlq release`: the rest of a replay is open again, and no record is replayed twice."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kafka_etl.dead_letters.statuses import LetterStatus
from tests.integration.dead_letters.test_replay import MENDED, PICKY, ids, replay, statuses
from tests.kit.daemon import COMMAND, command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

COUNT = 2_000
THREES = ("--where", "'ends with 3' in error.message", "--yes")
WANTED = [n for n in range(COUNT) if n % 10 != 7]

Ids = Callable[[], list[int]]


def in_kafka(folder: Path, kafka: Kafka) -> tuple[Project, Ids]:
    made = Project(
        folder, kafka, code=PICKY, operators=["ops:pick"], retry={"max_attempts": 1}, partitions=2
    )
    return made, lambda: ids(made)


def in_a_store(folder: Path, kafka: Kafka) -> tuple[Project, Ids]:
    made, _ = in_kafka(folder, kafka)
    file = folder / "orders.db"
    table = {"path": str(file), "table": "orders", "create": True, "types": {"id": "INTEGER"}}
    made.spec["sink"] = {"use": "sqlite", "with": table}
    made.write()

    def rows() -> list[int]:
        with sqlite3.connect(file) as database:
            return sorted(row[0] for row in database.execute("select id from orders"))

    return made, rows


@pytest.fixture(params=[in_kafka, in_a_store])
def failed(request: pytest.FixtureRequest, tmp_path: Path, kafka: Kafka) -> tuple[Project, Ids]:
    """A pipeline whose orders with 3 or 7 at the end are dead letters, and its outputs so far."""
    made, outputs = request.param(tmp_path, kafka)
    made.produce(orders(COUNT))
    assert run_to_end(tmp_path, str(made.file)).process.returncode == 0
    made.write_code(MENDED)
    return made, outputs


def begun(made: Project, outputs: Ids) -> subprocess.Popen[str]:
    """A slow replay of the threes, some of which are in the output."""
    before = len(outputs())
    process = subprocess.Popen(
        [*COMMAND, "dlq", "replay", str(made.file), *THREES, "--rate", "5"],
        cwd=made.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(outputs()) < before + 20:
        assert process.poll() is None
        time.sleep(0.2)
    return process


def action_of(made: Project) -> str:
    listed = command("dlq", "actions", str(made.file), "--json", cwd=made.folder)
    return str(json.loads(listed.stdout)["id"])


def dlq(made: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command("dlq", *arguments, cwd=made.folder, seconds=60)


def test_a_replay_that_still_runs_elsewhere_ends_and_each_record_is_there_once(
    failed: tuple[Project, Ids], tmp_path: Path
) -> None:
    made, outputs = failed
    with begun(made, outputs) as running:
        action = action_of(made)
        refused = dlq(made, "release", str(made.file), action)
        assert refused.returncode == 1
        assert f"replay {action} still runs on this host" in refused.stderr
        assert running.poll() is None
        done = dlq(made, "release", str(made.file), action, "--state-dir", str(tmp_path / "other"))
        assert done.returncode == 0, done.stderr
        assert "letters are open again" in done.stderr
        assert running.stderr is not None
        said = running.stderr.read()
        assert running.wait(60) == 1, said
        assert "E337" in said
    replayed = statuses(made)[LetterStatus.REPLAYED]
    assert set(statuses(made)) == {LetterStatus.REPLAYED}
    assert 0 < replayed < COUNT // 10
    assert len(outputs()) == COUNT - 2 * (COUNT // 10) + replayed
    again = replay(made, *THREES)
    assert again.returncode == 0, again.stderr
    assert f"{COUNT // 10 - replayed:,} of" in again.stderr
    assert outputs() == WANTED
    assert statuses(made) == {LetterStatus.REPLAYED: COUNT // 10}


def test_a_killed_replay_is_released_even_if_its_operator_cannot_start(
    failed: tuple[Project, Ids],
) -> None:
    made, outputs = failed
    with begun(made, outputs) as running:
        running.kill()
    made.write_code("raise RuntimeError('this file is broken')")
    done = dlq(made, "release", str(made.file), action_of(made))
    assert done.returncode == 0, done.stderr
    made.write_code(MENDED)
    gone = dlq(made, "release", str(made.file), action_of(made))
    assert gone.returncode == 2
    assert "with letters left" in gone.stderr
    again = replay(made, *THREES)
    assert again.returncode == 0, again.stderr
    assert outputs() == WANTED
