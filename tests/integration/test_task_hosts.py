"""Two hosts share a task pipeline: attempts outlive the moves of their tasks, and never overlap.

A host is a daemon with a state folder and an instance of its own. The operator holds a lock named by
its task, so that a second attempt beside the first one is seen.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kafka_etl.tasks.head import Head
from kafka_etl.tasks.placing import partition_of
from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Stop
from tests.integration.test_tasks import Tasks
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka

WORK = """
import fcntl, os, time
from pathlib import Path
from kafka_etl import Context


def work(task: dict, context: Context) -> dict:
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

    def __init__(self, folder: Path, kafka: Kafka) -> None:
        operator = {
            "use": "ops:work",
            "concurrency": 4,
            "timeout": "10m",
            "stop_grace": "1s",
            "lost_after": f"{LOST_AFTER}s",
            "retry": {"max_attempts": 2, "backoff": {"initial": "100ms"}},
        }
        consumer = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}
        super().__init__(folder, kafka, operator=operator, consumer=consumer)
        (folder / "ops.py").write_text(WORK)

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


@pytest.fixture
def hosts(tmp_path: Path, kafka: Kafka) -> Hosts:
    return Hosts(tmp_path, kafka)


def wait(daemon: Daemon, is_so: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert daemon.process.poll() is None, daemon.said()
        assert time.monotonic() < deadline, daemon.said()[-3000:]
        time.sleep(0.3)


def owns(daemon: Daemon) -> Callable[[], bool]:
    """Whether the daemon's owner has got a partition."""
    return lambda: "took over" in daemon.said()


def attempts(heads: dict[str, Head]) -> dict[str, list[str]]:
    """Task -> how its attempts have ended."""
    return {task: [one.why for one in head.attempts.last] for task, head in heads.items()}


def test_attempts_go_on_when_their_partitions_move(hosts: Hosts) -> None:
    ids = hosts.on_each_partition(2, 25)
    with hosts.host("a") as first:
        wait(first, hosts.all_are(State.RUNNING, ids))
        with hosts.host("b") as second:
            wait(second, owns(second))
            heads = hosts.until(second, 4)
            assert second.stop() == 0, second.said()
        assert first.stop() == 0, first.said()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert attempts(heads) == {task: ["result"] for task in ids}, hosts.said()
    assert {head.executor for head in heads.values()} == {"a"}
    assert hosts.outputs() == hosts.ran() == Counter(ids)


def test_a_stop_reaches_an_attempt_whose_partition_has_moved(hosts: Hosts) -> None:
    ids = hosts.on_each_partition(2, 300)
    with hosts.host("a") as first:
        wait(first, hosts.all_are(State.RUNNING, ids))
        with hosts.host("b") as second:
            wait(second, owns(second))
            for task in ids:
                hosts.say(task, Stop(word=f"stop-{task}", by="me"))
            heads = hosts.until(second, 4, 20)
            assert second.stop() == 0, second.said()
        assert first.stop() == 0, first.said()
    assert {head.state for head in heads.values()} == {State.STOPPED}
    assert attempts(heads) == {task: ["stopped"] for task in ids}, hosts.said()
    assert not any(head.stop.unconfirmed for head in heads.values() if head.stop)
    assert hosts.outputs() == Counter()


def keeper_of(daemon: Daemon) -> int:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(daemon.process.pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (found,) = [line for line in listed.splitlines() if "tasks.keeper" in line]
    return int(found.split()[0])


def test_a_keeper_that_stands_still_is_killed_before_its_tasks_run_elsewhere(
    hosts: Hosts,
) -> None:
    ids = hosts.on_each_partition(1, 15)
    with hosts.host("a") as first:
        wait(first, hosts.all_are(State.RUNNING, ids))
        with hosts.host("b") as second:
            wait(second, owns(second))
            os.kill(keeper_of(first), signal.SIGSTOP)
            heads = hosts.until(second, 2, 120)
            assert "the keeper stands still and is killed" in first.said()
            assert second.stop() == 0, second.said()
        assert first.stop() == 0, first.said()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert attempts(heads) == {task: ["lost", "result"] for task in ids}, hosts.said()
    assert not hosts.overlaps
    assert hosts.outputs() == Counter(ids)


def test_a_host_that_is_cut_off_ends_its_attempts_before_another_begins_them(
    hosts: Hosts,
) -> None:
    ids = hosts.on_each_partition(2, 25)
    with hosts.host("a") as first:
        wait(first, hosts.all_are(State.RUNNING, ids))
        with hosts.host("b") as second:
            wait(second, owns(second))
            # Nobody relays the keeper's words any more, and nobody restarts who should.
            stopped = [first.process.pid, *first.workers()]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            wait(second, hosts.all_are(State.RUNNING, ids), 120)
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            heads = hosts.until(second, 4, 120)
            assert second.stop() == 0, second.said()
        first.stop()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert not hosts.overlaps
    assert hosts.outputs() == Counter(ids)
