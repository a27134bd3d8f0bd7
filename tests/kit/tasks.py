"""A folder with a task pipeline, its topics, and what has become of its tasks."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka_etl.tasks.head import Head
from kafka_etl.tasks.placing import partition_of
from kafka_etl.tasks.states import FINAL, State
from kafka_etl.tasks.words import Word, encode_word
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.task_parts import heads_of, spec_of

WORK = """
import os, time
from kafka_etl import Context, Permanent


def work(task: dict, context: Context) -> dict | None:
    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{task['id']}\\n")
    if task.get("bad"):
        raise Permanent("a bad task")
    if task.get("none"):
        return None
    if task.get("fails"):
        raise OSError("a task that fails")
    if task.get("dies"):
        os._exit(7)
    until = time.monotonic() + task.get("seconds", 0)
    while time.monotonic() < until:
        time.sleep(0.02)
    return {"done": task["id"]}
"""


class Tasks:
    """A folder with one task pipeline, and its topics."""

    def __init__(self, folder: Path, kafka: Kafka, **more: Any) -> None:
        self.kafka = kafka
        self.folder = folder
        self.name = kafka.name()
        self.source = kafka.topic(2)
        self.results = kafka.topic(1)
        self.letters = f"{self.results}.dlq"
        self.runs = folder / "runs"
        self.runs.touch()
        self.file = folder / "tasks.yaml"
        operator = {
            "concurrency": 2,
            "timeout": "60s",
            "stop_grace": "1s",
            "retry": {"max_attempts": 2, "backoff": {"initial": "100ms"}},
        }
        spec = spec_of(self, operator, 2)
        self.file.write_text(json.dumps(spec | more))
        (folder / "ops.py").write_text(WORK)

    def daemon(self, *arguments: str) -> Daemon:
        os.environ["RUNS"] = str(self.runs)
        return Daemon(self.folder, str(self.file), "--instance", "tests", *arguments)

    def submit(self, *tasks: dict[str, Any]) -> None:
        self.kafka.produce(self.source, [(None, json.dumps(task)) for task in tasks])

    def say(self, task: str, word: Word) -> None:
        partitions = self.kafka.ends(f"{self.name}.inbox")
        record = encode_word(word)
        number = partition_of(task, len(partitions))
        self.kafka.produce(
            f"{self.name}.inbox",
            [{"key": task, "value": None, "headers": record.headers, "partition": number}],
        )

    def heads(self) -> dict[str, Head]:
        return heads_of(self.kafka, self.name)

    def states(self) -> dict[str, State]:
        return {task: head.state for task, head in self.heads().items()}

    def until(self, daemon: Daemon, count: int, seconds: float = 60) -> dict[str, Head]:
        """Wait until so many tasks have ended."""
        deadline = time.monotonic() + seconds
        while True:
            heads = self.heads()
            if sum(head.state in FINAL for head in heads.values()) >= count:
                return heads
            assert daemon.process.poll() is None, daemon.said()
            assert time.monotonic() < deadline, (self.states(), daemon.said()[-3000:])
            time.sleep(0.3)

    def outputs(self) -> Counter[str]:
        return Counter(json.loads(r.value or b"")["done"] for r in self.kafka.read(self.results))

    def failures(self) -> list[Any]:
        return [json.loads(record.value or b"") for record in self.kafka.read(self.letters)]

    def ran(self) -> Counter[str]:
        return Counter(self.runs.read_text().split())


LOCKED_WORK = """
import fcntl, os, time
from pathlib import Path
from kafka_etl import Context


def work(task: dict, context: Context) -> dict | None:
    folder = Path(os.environ["RUNS"]).parent
    with open(folder / f"{task['id']}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (folder / "overlaps").write_text(task["id"])
            raise
        with open(os.environ["RUNS"], "a") as file:
            file.write(f"{task['id']}\\n")
        until = time.monotonic() + task["seconds"]
        while time.monotonic() < until:
            time.sleep(0.05)
    return {"done": task["id"]}
"""
LOST_AFTER = 20.0


class Hosts(Tasks):
    """A task pipeline that notices the loss of a host soon."""

    def __init__(self, folder: Path, kafka: Kafka, *, partitions: int = 2, **more: Any) -> None:
        operator = {
            "use": "ops:work",
            "concurrency": 4,
            "timeout": "10m",
            "stop_grace": "1s",
            "lost_after": f"{LOST_AFTER}s",
            "retry": {"max_attempts": 2, "backoff": {"initial": "100ms"}},
            **more,
        }
        consumer = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}
        topics = {"partitions": partitions}
        super().__init__(folder, kafka, operator=operator, consumer=consumer, topics=topics)
        (folder / "ops.py").write_text(LOCKED_WORK)

    def host(self, name: str) -> Daemon:
        os.environ["RUNS"] = str(self.runs)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Daemon(folder, str(self.file), "--instance", name)

    def on_each_partition(self, count: int, seconds: float) -> list[str]:
        """Submit tasks that take so long, as many on each of the two partitions."""
        ids: list[str] = []
        for number in range(2):
            fits = (f"t{n}" for n in range(1000) if partition_of(f"t{n}", 2) == number)
            ids += [next(fits) for _ in range(count)]
        self.submit(*({"id": task, "seconds": seconds} for task in ids))
        return ids

    def said(self) -> str:
        return "\n".join(log.read_text()[-4000:] for log in self.folder.glob("*/daemon-*.log"))

    @property
    def overlaps(self) -> bool:
        return (self.folder / "overlaps").exists()

    def all_are(self, state: State, ids: list[str]) -> Callable[[], bool]:
        def are() -> bool:
            states = self.states()
            return all(states.get(task) is state for task in ids)

        return are


def keeper_of(daemon: Daemon) -> int:
    """Process id of the daemon's keeper."""
    (found,) = children(daemon.process.pid, "tasks.keeper")
    return found


def runners_of(keeper: int) -> list[int]:
    """Process ids of a keeper's runners."""
    return children(keeper, "tasks.runner")


def children(parent: int, module: str) -> list[int]:
    """Process ids of a process's children that run this module."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if module in line]
