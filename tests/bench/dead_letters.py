"""Dead letters of thirty kinds: find the new kind, mend the operator, replay it under kills.

    python -m tests.bench.dead_letters [--records N] [--kills N] [--list-only]

An operator fails in 29 ways. Its second version fails in one way more, in the second half of the
records. The new kind is found by its version, one letter is debugged, the operator is mended, and
exactly these letters are replayed, while the replay is killed. At the end every id is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kafka_etl.broker import Cluster
from kafka_etl.dead_letters.statuses import LetterStatus, Statuses, status_topic
from kafka_etl.kafka.cluster.topics import read
from tests.kit.daemon import COMMAND, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project

KINDS = 30
NEW = KINDS - 1
CODE = """
WORDS = "a b c d e f g h i j k l m n o p q r s t u v w x y z aa bb cc".split()


def check(value: dict) -> dict:
    kind = value["kind"]
    if kind < len(WORDS):
        raise ValueError(f"order {value['id']} is wrong in the way of {WORDS[kind]}")
    LINE
    return {"id": value["id"]}
"""
FIRST = CODE.replace("LINE", "pass")
BROKEN = CODE.replace("LINE", "value['vat']")
MENDED = CODE.replace("LINE", "value['vat'] = 0")


class Trial:
    """One run over a Kafka of its own."""

    def __init__(self, folder: Path, kafka: Kafka, records: int) -> None:
        self.folder = folder
        self.records = records
        self.made = Project(
            folder,
            kafka,
            code=FIRST,
            operators=["ops:check"],
            retry={"max_attempts": 1},
            dead_letter={
                "topic": f"{kafka.name()}.dlq",
                "limit": {"max_consecutive": 1_000_000_000},
            },
        )
        self.letters = str(self.made.spec["dead_letter"]["topic"])
        self.env = {**os.environ, "KAFKA_ETL_CACHE": str(folder / "cache")}

    def fail(self) -> None:
        """Run both halves of the records, the second with the broken version."""
        half = self.records // 2
        for code, numbers in ((FIRST, range(half)), (BROKEN, range(half, self.records))):
            self.made.write_code(code)
            self.made.produce(orders(numbers))
            ended = run_to_end(self.folder, str(self.made.file), seconds=900)
            assert ended.process.returncode == 0, ended.said()[-3000:]

    def dlq(self, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
        started = time.monotonic()
        done = subprocess.run(
            [*COMMAND, "dlq", *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        return done, time.monotonic() - started

    def kinds(self, *arguments: str) -> tuple[list[dict[str, Any]], float]:
        done, seconds = self.dlq("list", str(self.made.file), "--format", "json", *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()], seconds

    def killed(self, after: int, *arguments: str) -> None:
        """Start a replay, and kill its processes when so many records more are out."""
        process = subprocess.Popen(
            [*COMMAND, "dlq", "replay", str(self.made.file), *arguments],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = len(self.made.outputs())
        while len(self.made.outputs()) < before + after:
            assert process.poll() is None, "the replay ended before it could be killed"
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def check(self) -> None:
        """Each id once in the output, the statuses of the new kind alone are changed."""
        ids = Counter(order["id"] for order in self.made.outputs())
        wanted = {number for number in range(self.records) if number % KINDS == NEW}
        assert set(ids) == wanted, f"{len(set(ids) ^ wanted)} ids are lost or should not be there"
        assert set(ids.values()) == {1}, f"{sum(ids.values()) - len(ids)} came twice"
        statuses = Statuses()
        statuses.take_in(
            read({"log_level": 0, **self.made.kafka.client}, status_topic(self.letters))
        )
        counts = Counter(status.status for status in statuses.letters.values())
        new = sum(number % KINDS == NEW for number in range(self.records // 2, self.records))
        assert counts == {LetterStatus.REPLAYED: new}, counts


def orders(numbers: Iterable[int]) -> Iterable[tuple[str, str]]:
    for number in numbers:
        yield str(number), json.dumps({"id": number, "kind": number % KINDS, "note": "x" * 40})


def told(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what:<60} {seconds:8.1f} s\n")
    sys.stdout.flush()


def tried(trial: Trial, kills: int, *, list_only: bool) -> None:
    started = time.monotonic()
    trial.fail()
    told(f"{trial.records:,} records through the operator", time.monotonic() - started)
    kinds, seconds = trial.kinds()
    assert len(kinds) == KINDS, len(kinds)
    told(f"list without an index: {sum(kind['letters'] for kind in kinds):,} letters", seconds)
    kinds, seconds = trial.kinds()
    told("list with an index", seconds)
    if list_only:
        return
    versions = Counter(version for kind in kinds for version in kind["versions"])
    new = [kind for kind in kinds if kind["error_type"] == "KeyError"]
    assert len(new) == 1, new
    assert len(versions) == 2, versions
    fingerprint, example = new[0]["fingerprint"], new[0]["example"]
    file = str(trial.made.file)
    done, seconds = trial.dlq("debug", file, example)
    assert done.returncode == 1, done.stdout
    assert "value['vat']" in done.stdout + done.stderr or "vat" in done.stdout + done.stderr
    told("debug of one, fails", seconds)
    trial.made.write_code(MENDED)
    done, seconds = trial.dlq("debug", file, example)
    assert done.returncode == 0, done.stderr
    told("debug of one, passes", seconds)
    done, seconds = trial.dlq("replay", file, "--fingerprint", fingerprint, "--dry-run")
    assert done.returncode == 0, done.stderr
    plan = done.stdout.splitlines()[-1].removeprefix("plan: ")
    told("dry run", seconds)
    some = new[0]["letters"] // (3 * kills or 1)
    rate = ("--rate", str(max(100, new[0]["letters"] // 8)))
    action: tuple[str, ...] = ("--plan", plan)
    started = time.monotonic()
    for _ in range(kills):
        trial.killed(some, *action, *rate)
        done, _ = trial.dlq("actions", file, "--json")
        action = ("--resume", json.loads(done.stdout.splitlines()[-1])["id"])
    done, _ = trial.dlq("replay", file, *action)
    assert done.returncode == 0, done.stderr
    told(f"replay of {new[0]['letters']:,}, killed {kills} times", time.monotonic() - started)
    trial.check()
    sys.stdout.write("every id once, and no other letter was touched\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=102_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--list-only", action="store_true")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kafka-etl-dlq-") as folder,
        Cluster.start(Path(folder) / "kafka") as cluster,
    ):
        work = Path(folder) / "work"
        work.mkdir()
        trial = Trial(work, Kafka(cluster.bootstrap), given.records)
        tried(trial, given.kills, list_only=given.list_only)


if __name__ == "__main__":
    sys.exit(main())
