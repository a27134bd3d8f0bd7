"""`kafka-etl dlq replay` on a real Kafka: each record once, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from kafka_etl.dead_letters.statuses import LetterStatus, Statuses, status_topic
from kafka_etl.kafka.cluster.topics import read
from tests.kit.daemon import COMMAND, command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

PICKY = """
    def pick(value: dict) -> dict:
        if value["id"] % 10 == 3:
            raise ValueError(f"{value['id']} ends with 3")
        if value["id"] % 10 == 7:
            raise KeyError("amount")
        return {"id": value["id"]}
"""
MENDED = """
    def pick(value: dict) -> dict:
        if value["id"] % 10 == 7:
            raise KeyError("amount")
        return {"id": value["id"]}
"""
THREES = "ends with 3"


def failed(tmp_path: Path, kafka: Kafka, count: int = 400, **more: Any) -> Project:
    """A project whose orders with 3 or 7 at the end are dead letters; its operator is mended."""
    made = Project(
        tmp_path, kafka, code=PICKY, operators=["ops:pick"], retry={"max_attempts": 1}, **more
    )
    made.produce(orders(count))
    assert run_to_end(tmp_path, str(made.file)).process.returncode == 0
    assert len(made.dead_letters()) == count // 5
    made.write_code(MENDED)
    return made


def statuses(made: Project) -> Counter[LetterStatus]:
    found = Statuses()
    found.take_in(read({"log_level": 0, **made.kafka.client}, status_topic(made.letters)))
    return Counter(status.status for status in found.letters.values())


def kind(made: Project, text: str) -> str:
    letters = made.dead_letters()
    return next(
        letter.header("kafka_etl.fingerprint")
        for letter in letters
        if text in letter.header("kafka_etl.error.message")
    )


def replay(made: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command("dlq", "replay", str(made.file), *arguments, cwd=made.folder, seconds=90)


def ids(made: Project) -> list[int]:
    return sorted(order["id"] for order in made.outputs())


def test_exactly_the_letters_of_a_kind_are_replayed_once(tmp_path: Path, kafka: Kafka) -> None:
    made = failed(tmp_path, kafka)
    threes = kind(made, THREES)
    done = replay(made, "--fingerprint", threes)
    assert done.returncode == 0, done.stderr
    assert "40 of 40 replayed, 0 failed again" in done.stderr
    assert ids(made) == [n for n in range(400) if n % 10 != 7]
    assert statuses(made) == {LetterStatus.REPLAYED: 40}
    second = replay(made, "--fingerprint", threes)
    assert second.returncode == 0, second.stderr
    assert "40 more are left alone: replayed before (--again takes them)" in second.stderr
    assert ids(made) == [n for n in range(400) if n % 10 != 7]


def test_a_record_that_fails_again_brings_its_history_along(tmp_path: Path, kafka: Kafka) -> None:
    made = failed(tmp_path, kafka, 20)
    sevens = kind(made, "amount")
    done = replay(made, "--fingerprint", sevens)
    assert done.returncode == 3, done.stderr
    assert "2 of 2 replayed, 2 failed again" in done.stderr
    newest = made.dead_letters()[-1]
    context = json.loads(newest.header("kafka_etl.context"))
    assert newest.header("kafka_etl.topic") == made.source
    assert len(context["history"]) == 1
    assert context["history"][0]["error"] == "KeyError: 'amount' is not there"
    limited = replay(made, "--fingerprint", sevens, "--max-failures", "2")
    assert limited.returncode == 3
    assert "the record has failed 2 times" in limited.stderr
    assert "2 were left open" in limited.stderr


def test_a_replay_that_is_killed_goes_on_where_it_was(tmp_path: Path, kafka: Kafka) -> None:
    made = failed(tmp_path, kafka, 4_000)
    threes = kind(made, THREES)
    given = ("--fingerprint", threes, "--yes", "--rate", "40")
    for _ in range(2):
        before = len(made.outputs())
        process = subprocess.Popen(
            [*COMMAND, "dlq", "replay", str(made.file), *given],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while len(made.outputs()) < before + 50:
            assert process.poll() is None
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = replay(made, "--fingerprint", threes, "--yes")
    assert done.returncode == 0, done.stderr
    assert "goes on" in done.stderr
    assert "400 of 400 replayed" in done.stderr
    assert ids(made) == [n for n in range(4_000) if n % 10 != 7]
    assert statuses(made) == {LetterStatus.REPLAYED: 400}
