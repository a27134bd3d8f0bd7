"""A task pipeline whose owners a test stops, kills and cuts off in the midst of a commit."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka_etl.tasks.head import Head, decode_head
from kafka_etl.tasks.journal import Kind, Mark, decode_mark
from kafka_etl.tasks.placing import partition_of
from kafka_etl.tasks.states import FINAL, State
from kafka_etl.tasks.words import Submit, Word, encode_input, encode_word
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.task_parts import heads_of, journal_of, spec_of

_SITE = Path(__file__).parent / "fault_site"
_REPOSITORY = Path(__file__).parents[2]
WORK = """
import json, os, time
from kafka_etl import Context, Permanent


def work(task: dict, context: Context) -> dict:
    with open(os.environ["RUNS"], "a") as file:
        file.write(f"{task['id']}\\n")
    if task.get("bad"):
        raise Permanent("a bad task")
    if task.get("fails"):
        raise OSError("a task that fails")
    until = time.monotonic() + task.get("seconds", 0)
    while time.monotonic() < until:
        time.sleep(0.02)
    return {"done": task["id"], "more": "x" * task.get("size", 0)}
"""


class Faults:
    """What befalls the owners of one host.

    Args:
        folder: Where the owners look.

    Attributes:
        clock_ahead: By how many seconds the host's clock is wrong.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.clock_ahead = 0.0

    @property
    def env(self) -> dict[str, str]:
        return {
            "TASK_FAULTS": str(self._folder),
            "CLOCK_AHEAD": str(self.clock_ahead),
            "PYTHONPATH": f"{_SITE}:{_REPOSITORY}",
        }

    def order(self, *states: State, place: str, action: str, nth: int = 1) -> None:
        """Befall the next commit, or the nth one, whose heads have just these states.

        Args:
            place: The failpoint.
            action: `stop` or `kill` the owner; `hold`: until `release`.
        """
        wanted = {"states": sorted(states), "place": place, "action": action, "nth": nth}
        fresh = self._folder / "order.new"
        fresh.write_text(json.dumps(wanted))
        fresh.rename(self._folder / "order")

    def restore_takes(self, seconds: float) -> None:
        (self._folder / "slow").write_text(str(seconds))

    def struck(self, seconds: float = 60) -> int:
        """Wait until the commit has come; returns the owner's process id."""
        file = self._folder / "struck"
        until(file.exists, seconds)
        return int(file.read_text())

    def release(self) -> None:
        (self._folder / "struck").unlink()

    def memory(self) -> dict[str, str]:
        """Task -> its state, as the owner has it after its last commit."""
        return json.loads((self._folder / "memory").read_text())


class TaskRig:
    """A task pipeline, its topics, and daemons of several hosts.

    Words go straight to the inbox.
    """

    def __init__(
        self,
        folder: Path,
        kafka: Kafka,
        *,
        partitions: int = 1,
        operator: dict[str, Any] | None = None,
        bootstrap: str = "",
        **more: Any,
    ) -> None:
        self.folder = folder
        self.kafka = kafka
        self.partitions = partitions
        self.name = kafka.name()
        self.group = f"{self.name}.tasks"
        self.inbox = f"{self.name}.inbox"
        self.journal = f"{self.name}.journal"
        self.results = kafka.topic(1, f"{self.name}.results")
        self.letters = kafka.topic(1, f"{self.name}.dlq")
        self.source = kafka.topic(1)
        self.file = folder / "tasks.yaml"
        self.runs = folder / "runs"
        self.runs.touch()
        usual: dict[str, Any] = {
            "concurrency": 1,
            "timeout": "300s",
            "stop_grace": "1s",
            "retry": {"max_attempts": 2, "backoff": {"initial": "2s", "jitter": "none"}},
        }
        self.spec: dict[str, Any] = {
            **spec_of(self, {**usual, **(operator or {})}, partitions, self.letters),
            "kafka": {"bootstrap.servers": bootstrap or kafka.bootstrap},
            "consumer": {"session.timeout.ms": 6_000},
            **more,
        }
        self.write()
        (folder / "ops.py").write_text(WORK)

    def write(self) -> None:
        self.file.write_text(json.dumps(self.spec))

    def same(self, folder: Path, **other: Any) -> Path:
        """A file of a pipeline of this name, with other settings."""
        file = folder / "tasks.yaml"
        file.write_text(json.dumps(self.spec | other))
        (folder / "ops.py").write_text(WORK)
        return file

    def daemon(
        self,
        host: str,
        faults: Faults | None = None,
        *,
        file: Path | None = None,
        folder: str = "",
    ) -> Daemon:
        """A daemon, whose state folder is that of the host, or another one."""
        return self._daemon(host, faults, file, self.folder / (folder or host))

    def _daemon(self, host: str, faults: Faults | None, file: Path | None, folder: Path) -> Daemon:
        folder.mkdir(exist_ok=True)
        env = {"RUNS": str(self.runs), **({} if faults is None else faults.env)}
        return Daemon(folder, str(file or self.file), "--instance", host, env=env)

    def faults(self, host: str) -> Faults:
        (self.folder / host).mkdir(exist_ok=True)
        return Faults(self.folder / host / "faults")

    # Words

    def submit(self, *tasks: dict[str, Any]) -> None:
        for task in tasks:
            record = encode_input(Submit(word=f"w-{task['id']}"), json.dumps(task).encode())
            self.put(task["id"], record.value, record.headers)

    def say(self, task: str, word: Word) -> None:
        record = encode_word(word)
        self.put(task, record.value, record.headers)

    def put(self, key: str | None, value: bytes | None, headers: Any) -> None:
        """Write any record to the inbox."""
        number = 0 if key is None else partition_of(key, self.partitions)
        self.kafka.produce(
            self.inbox, [{"key": key, "value": value, "headers": headers, "partition": number}]
        )

    # What came of them

    def heads(self) -> dict[str, Head]:
        return heads_of(self.kafka, self.name)

    def states(self) -> dict[str, State]:
        return {task: head.state for task, head in self.heads().items()}

    def finals(self) -> Counter[str]:
        """Task -> how often it has come to a final state, as readers of the journal saw it."""
        found: Counter[str] = Counter()
        last: dict[str, State] = {}
        for kind, task, value, _ in journal_of(self.kafka, self.name):
            if kind is not Kind.HEAD or value is None:
                continue
            state = decode_head(value).state
            found[task] += state in FINAL and last.get(task) not in FINAL
            last[task] = state
        return found

    def mark(self, number: int = 0) -> Mark:
        """The last mark of a partition."""
        *_, last = (
            value
            for kind, _, value, partition in journal_of(self.kafka, self.name)
            if kind is Kind.MARK and partition == number
        )
        assert last is not None
        return decode_mark(last)

    def outputs(self, topic: str = "") -> Counter[str]:
        found = self.kafka.read(topic or self.results)
        return Counter(json.loads(r.value or b"")["done"] for r in found)

    def failures(self) -> list[Any]:
        return [json.loads(record.value or b"") for record in self.kafka.read(self.letters)]

    def ran(self) -> Counter[str]:
        return Counter(self.runs.read_text().split())

    def members(self) -> list[str]:
        """The hosts whose owners are in the group."""
        described = self.kafka.admin.describe_consumer_groups([self.group])[self.group].result(20)
        return sorted(m.client_id.split(".")[-2] for m in described.members)

    # Waiting

    def until_state(self, task: str, *states: State, seconds: float = 60) -> Head:
        until(lambda: self.states().get(task) in states, seconds, self.states)
        return self.heads()[task]

    def until_ended(self, *ids: str, seconds: float = 90) -> dict[str, Head]:
        def ended() -> bool:
            states = self.states()
            return all(states.get(task) in FINAL for task in ids)

        until(ended, seconds, self.states)
        return self.heads()


def owns(daemon: Daemon, partitions: int = 1, seconds: float = 90) -> None:
    """Wait until a daemon's owner has that many partitions."""

    def has() -> bool:
        assert daemon.process.poll() is None, daemon.said()[-5000:]
        try:
            listed = daemon.get("/pipelines")["pipelines"]
        except OSError:
            return False
        return any(p["name"].endswith(".tasks") and p["partitions"] == partitions for p in listed)

    until(has, seconds, lambda: daemon.said()[-5000:])


def until(
    what: Callable[[], bool], seconds: float = 60, last: Callable[[], object] = lambda: ""
) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError(last())
        time.sleep(0.2)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def go_on(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
