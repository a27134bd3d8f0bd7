"""A folder with one task pipeline on a real Kafka, and what one asks of it from outside."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from kafka_etl.tasks.head import Head
from kafka_etl.tasks.states import State
from tests.kit.daemon import COMMAND, Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.task_parts import heads_of, spec_of

WORK = """
import os, sys, time
from kafka_etl import Context, Permanent


def work(task: dict, context: Context) -> dict:
    for line in task.get("prints", ()):
        print(line)
    for line in task.get("errors", ()):
        print(line, file=sys.stderr)
    for number in range(task.get("lines", 0)):
        print("line", number)
    if "logs" in task:
        context.log.info(task["logs"])
    if task.get("bad"):
        raise Permanent("a bad task")
    if task.get("fails") and context.attempt <= task["fails"]:
        raise OSError(f"attempt {context.attempt} fails")
    sleeps_deeply(task, context)
    return {"done": context.task}


def sleeps_deeply(task: dict, context: Context) -> None:
    until = time.monotonic() + task.get("seconds", 0)
    beat = 0
    while time.monotonic() < until:
        context.check()
        time.sleep(0.05)
        beat += 1
        if task.get("beats") and beat % 10 == 0:
            print("beat", beat)
"""


class TalkingTasks:
    """A pipeline `NAME` in `tasks.yaml`, with topics of its own, for logs, too."""

    def __init__(self, folder: Path, kafka: Kafka, **more: Any) -> None:
        self.kafka = kafka
        self.folder = folder
        self.name = kafka.name()
        self.source = kafka.topic(2)
        self.results = kafka.topic(1)
        self.letters = f"{self.results}.dlq"
        self.logs = f"{self.name}.logs"
        self.file = folder / "tasks.yaml"
        operator = {
            "concurrency": 2,
            "timeout": "10m",
            "stop_grace": "1s",
            "retry": {"max_attempts": 3, "backoff": {"initial": "100ms"}},
        }
        spec = {**spec_of(self, operator, 2), "history": {"topic": self.logs}}
        self.file.write_text(json.dumps(spec | more))
        (folder / "ops.py").write_text(WORK)

    def daemon(self, *arguments: str) -> Daemon:
        return Daemon(self.folder, str(self.file), "--instance", "tests", *arguments)

    def tasks(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`kafka-etl tasks VERB FILE ...`, to its end."""
        return command("tasks", verb, str(self.file), *arguments, cwd=self.folder)

    def begin(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        """`kafka-etl tasks VERB FILE ...`, in the background."""
        return subprocess.Popen(
            [*COMMAND, "tasks", verb, str(self.file), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def submit(self, task: str, **value: Any) -> None:
        self.kafka.produce(self.source, [(None, json.dumps({"id": task, **value}))])

    def heads(self) -> dict[str, Head]:
        """The present heads by id; read here, as a command would take a second."""
        return heads_of(self.kafka, self.name)

    def until(self, task: str, state: State, seconds: float = 90) -> Head:
        """Wait until a task is in a state."""
        deadline = time.monotonic() + seconds
        while (head := self.heads().get(task)) is None or head.state is not state:
            assert time.monotonic() < deadline, head
            time.sleep(0.3)
        return head
