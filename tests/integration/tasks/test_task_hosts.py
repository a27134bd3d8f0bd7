"""Two hosts share a task pipeline: attempts outlive the moves of their tasks, and never overlap.

A host is a daemon with a state folder and an instance of its own. The operator holds a lock named
by its task, so that a second attempt beside the first one is seen.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kafka_etl.tasks.head import Head
from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Stop
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.tasks import Hosts, keeper_of


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


def runs(daemon: Daemon) -> Callable[[], bool]:
    """Whether the daemon's pipelines run."""

    def run() -> bool:
        try:
            pipelines = daemon.get("/pipelines")["pipelines"]
        except OSError:
            return False
        return all(pipeline["state"] == "running" for pipeline in pipelines)

    return run


def attempts(heads: dict[str, Head]) -> dict[str, list[str]]:
    """Task -> how its attempts have ended."""
    return {task: [one.why for one in head.attempts.last] for task, head in heads.items()}


def test_attempts_go_on_when_their_partitions_move(hosts: Hosts) -> None:
    ids = hosts.on_each_partition(2, 40)
    with hosts.host("a") as first:
        wait(first, hosts.all_are(State.RUNNING, ids))
        with hosts.host("b") as second:
            wait(second, owns(second))
            heads = hosts.until(second, 4, 120)
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


def test_a_keeper_that_stands_still_is_killed_before_its_tasks_run_elsewhere(
    hosts: Hosts,
) -> None:
    ids = hosts.on_each_partition(1, 45)
    with hosts.host("a") as first:
        wait(first, hosts.all_are(State.RUNNING, ids))
        with hosts.host("b") as second:
            wait(second, owns(second))
            os.kill(keeper_of(first), signal.SIGSTOP)
            heads = hosts.until(second, 2, 180)
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
    ids = hosts.on_each_partition(2, 40)
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


def test_the_tasks_of_one_partition_run_on_two_hosts(tmp_path: Path, kafka: Kafka) -> None:
    hosts = Hosts(tmp_path, kafka, partitions=1, concurrency=2)
    ids = [f"t{n}" for n in range(8)]
    with hosts.host("a") as first:
        wait(first, owns(first))
        with hosts.host("b") as second:
            wait(second, runs(second))
            hosts.submit(*({"id": task, "seconds": 3} for task in ids))
            heads = hosts.until(first, len(ids), 60)
            assert not owns(second)()
            assert second.stop() == 0, second.said()
        assert first.stop() == 0, first.said()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert attempts(heads) == {task: ["result"] for task in ids}, hosts.said()
    executors = Counter(head.executor for head in heads.values())
    assert executors["a"] + executors["b"] == len(ids)
    assert min(executors["a"], executors["b"]) >= 2, executors
    assert hosts.outputs() == hosts.ran() == Counter(ids)


def test_what_a_killed_host_ran_for_another_is_run_again(tmp_path: Path, kafka: Kafka) -> None:
    hosts = Hosts(tmp_path, kafka, partitions=1, concurrency=1)
    with hosts.host("a") as first:
        wait(first, owns(first))
        with hosts.host("b") as second:
            wait(second, runs(second))
            hosts.submit({"id": "t0", "seconds": 20}, {"id": "t1", "seconds": 5})
            wait(second, lambda: hosts.states().get("t1") is State.RUNNING)
            second.kill()
        with hosts.host("b") as third:
            heads = hosts.until(third, 2)
            assert third.stop() == 0, third.said()
        assert first.stop() == 0, first.said()
    assert attempts(heads)["t0"] == ["result"], hosts.said()
    # What has outlived its daemon for a moment may have had the time to say so.
    assert attempts(heads)["t1"] in (["lost", "result"], ["interrupted", "result"]), hosts.said()
    assert not hosts.overlaps
    assert hosts.outputs() == Counter(["t0", "t1"])
