"""A folder with one pipeline of `mode: task`, its topics, and what became of its tasks."""

from __future__ import annotations

import json
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka_etl.runtime.tasks.exchange import TOKEN
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.placing import partition_of
from kafka_etl.tasks.states import FINAL, State
from kafka_etl.tasks.words import Word, encode_word
from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.task_parts import heads_of, spec_of

PARTITIONS = 4
OPERATOR: dict[str, Any] = {
    "concurrency": 3,
    "timeout": "60s",
    "stop_grace": "1s",
    "retry": {"max_attempts": 1},
}


class TaskProject:
    """The pipeline's file and operator; `code` is the text of `ops.py`, which has `work`.

    Args:
        operator: Settings of the operator that differ from `OPERATOR`.
        more: Further settings of the file.
    """

    def __init__(
        self,
        folder: Path,
        kafka: Kafka,
        code: str,
        *,
        operator: dict[str, Any] | None = None,
        source: str = "",
        **more: Any,
    ) -> None:
        self.folder = folder
        self.kafka = kafka
        self.name = kafka.name()
        self.source = source or kafka.topic(PARTITIONS)
        self.results = kafka.topic(1)
        self.letters = kafka.topic(1)
        self.file = folder / "tasks.yaml"
        spec = spec_of(self, {**OPERATOR, **(operator or {})}, PARTITIONS, self.letters)
        self.file.write_text(json.dumps(spec | more))
        (folder / "ops.py").write_text(textwrap.dedent(code))

    @property
    def inbox(self) -> str:
        return f"{self.name}.inbox"

    def daemon(self, *arguments: str) -> Daemon:
        return Daemon(self.folder, str(self.file), "--instance", "tests", *arguments)

    def command(self, verb: str, *arguments: str) -> Any:
        """`kafka-etl tasks …` on the pipeline."""
        return command("tasks", verb, str(self.file), *arguments, cwd=self.folder)

    def submit(self, *tasks: dict[str, Any]) -> None:
        """Write records to the source, whose values are these."""
        self.kafka.produce(self.source, [(None, json.dumps(task)) for task in tasks])

    def say(self, task: str, word: Word) -> None:
        """Write a word into the inbox."""
        headers, number = encode_word(word).headers, partition_of(task, PARTITIONS)
        record = {"key": task, "value": None, "headers": headers, "partition": number}
        self.kafka.produce(self.inbox, [record])

    def heads(self) -> dict[str, Head]:
        """Id -> the task's head in the journal."""
        return heads_of(self.kafka, self.name)

    def until(
        self, daemon: Daemon, is_so: Callable[[dict[str, Head]], bool], seconds: float = 60
    ) -> dict[str, Head]:
        """Wait until the heads are as wanted."""
        deadline = time.monotonic() + seconds
        while True:
            heads = self.heads()
            if is_so(heads):
                return heads
            assert daemon.process.poll() is None, daemon.said()
            states = {task: head.state for task, head in heads.items()}
            assert time.monotonic() < deadline, (states, daemon.said()[-3000:])
            time.sleep(0.2)

    def until_state(self, daemon: Daemon, task: str, *states: State, seconds: float = 60) -> Head:
        """Wait until a task is in one of these states; none: in a final one."""
        wanted = states or tuple(FINAL)
        heads = self.until(daemon, lambda h: task in h and h[task].state in wanted, seconds)
        return heads[task]

    def outputs(self) -> Counter[str]:
        """Result -> how often it was written."""
        return Counter((r.value or b"").decode() for r in self.kafka.read(self.results))

    def letters_of(self, task: str) -> list[dict[str, Any]]:
        """The dead letters of a task, as envelopes."""
        letters = [json.loads(r.value or b"{}") for r in self.kafka.read(self.letters)]
        return [one for one in letters if one["invocation"]["id"] == task]


def processes_with(token: str) -> list[int]:
    """The processes that an attempt has started, and that still run."""
    wanted = f"{TOKEN}={token}".encode()
    found: list[int] = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                environment = (path / "environ").read_bytes()
            except OSError:
                continue
            if wanted in environment.split(b"\0"):
                found.append(int(path.name))
    return found
