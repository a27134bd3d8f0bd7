"""Partitions of tasks that move: within an open transaction, all the time, and between twins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer

from kafka_etl.tasks.states import State
from tests.kit.kafka import Kafka
from tests.kit.task_faults import TaskRig, owns, until


def test_nothing_is_missing_after_two_take_overs_within_one_open_transaction(
    tmp_path: Path, kafka: Kafka
) -> None:
    """The first owner dies with a transaction open; the second one leaves soon after it came."""
    rig = TaskRig(tmp_path, kafka, producer={"transaction.timeout.ms": 25_000})
    faults = rig.faults("a")
    with rig.daemon("a", faults) as first:
        owns(first)
        rig.submit({"id": "before"})
        rig.until_ended("before")
        faults.order(State.DEQUEUED, place="after_produce", action="stop")
        rig.submit({"id": "t"})
        faults.struck()
        first.kill()
    rig.submit(*({"id": f"s{n}"} for n in range(4)))
    with rig.daemon("b") as second:
        until(lambda: rig.mark().writer.endswith(".b.0"), 120, second.said)
        time.sleep(1)
        assert second.stop() == 0, second.said()
    between = rig.heads()
    last = rig.faults("c")
    with rig.daemon("c", last) as third:
        owns(third)
        ids = ["before", "t", *(f"s{n}" for n in range(4))]
        heads = rig.until_ended(*ids)
        until(lambda: last.memory() == {t: s.value for t, s in rig.states().items()}, 30)
        assert third.stop() == 0, third.said()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert {head.generation for head in heads.values()} == {1}
    assert all(heads[task].age >= head.age for task, head in between.items())
    assert rig.outputs() == rig.finals() == dict.fromkeys(ids, 1)
    assert rig.ran()["before"] == 1


@contextmanager
def partitions_move(rig: TaskRig, every: float) -> Iterator[list[int]]:
    """Have a stranger join the owners' group and leave it, again and again; yields its counts."""
    over = threading.Event()
    took: list[int] = []

    def come_and_go() -> None:
        while not over.is_set():
            stranger = Consumer(
                {
                    **rig.kafka.client,
                    "group.id": rig.group,
                    "partition.assignment.strategy": "cooperative-sticky",
                    "enable.auto.commit": False,
                    "session.timeout.ms": 6_000,
                }
            )
            stranger.subscribe([rig.inbox])
            until_ms = time.monotonic() + every
            most = 0
            while time.monotonic() < until_ms:
                stranger.consume(100, 0.2)
                most = max(most, len(stranger.assignment()))
            took.append(most)
            stranger.close()
            over.wait(every)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


def test_partitions_that_move_every_five_seconds_cost_no_attempt(
    tmp_path: Path, kafka: Kafka
) -> None:
    rig = TaskRig(tmp_path, kafka, partitions=4, operator={"concurrency": 8})
    ids = [f"t{n}" for n in range(8)]
    with rig.daemon("a") as daemon:
        owns(daemon, 4)
        with partitions_move(rig, 5) as took:
            rig.submit(*({"id": task, "seconds": 15 + 3 * n} for n, task in enumerate(ids)))
            until(lambda: rig.ran().total() == 8, 90, rig.states)
            until(lambda: rig.outputs().total() == 8, 180, rig.states)
            assert sum(bool(count) for count in took) >= 3
        heads = rig.until_ended(*ids)
        assert daemon.stop() == 0, daemon.said()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert {head.attempts.total for head in heads.values()} == {1}, heads
    assert rig.outputs() == rig.ran() == rig.finals() == dict.fromkeys(ids, 1)


def test_two_daemons_of_one_instance_do_no_harm_and_say_which_is_too_many(
    tmp_path: Path, kafka: Kafka
) -> None:
    """Each fences the other, in the end perhaps both are stopped; one alone does what is left.

    A task that was lost ten times meanwhile, together with others, has failed, and says so.
    """
    often = {"max_attempts": 10, "backoff": {"initial": "100ms"}}
    rig = TaskRig(tmp_path, kafka, partitions=2, operator={"concurrency": 2, "retry": often})
    ids = [f"t{n}" for n in range(30)]
    with rig.daemon("twin") as first, rig.daemon("twin", folder="other") as second:
        until(lambda: rig.inbox in kafka.admin.list_topics(timeout=10).topics)

        def is_said() -> bool:
            return any('"code":"E403"' in d.said() for d in (first, second))

        for task in ids:
            rig.submit({"id": task, "seconds": 0.3})
        until(is_said, 120, first.said)
        for daemon in (first, second):
            daemon.stop()
    with rig.daemon("twin"):
        heads = rig.until_ended(*ids, seconds=150)
    failed = {task for task, head in heads.items() if head.state is State.FAILED}
    assert {heads[task].attempts.joint for task in failed} <= {10}
    assert {heads[task].state for task in ids if task not in failed} == {State.SUCCEEDED}
    assert rig.outputs() == dict.fromkeys((task for task in ids if task not in failed), 1)
    assert rig.finals() == dict.fromkeys(ids, 1)
    assert len(rig.failures()) == len(failed)


def test_another_pipeline_of_the_same_name_shares_the_tasks_or_says_why_not(
    tmp_path: Path, kafka: Kafka
) -> None:
    """One has another operator and another topic; one wants another number of partitions."""
    rig = TaskRig(tmp_path, kafka, partitions=2)
    other = tmp_path / "other"
    other.mkdir()
    elsewhere = kafka.topic(1)
    with rig.daemon("a") as first:
        owns(first, 2)
        theirs = rig.same(other, on_success={"use": "kafka", "with": {"topic": elsewhere}})
        with rig.daemon("b", file=theirs) as second:
            owns(second, 1)
            ids = [f"t{n}" for n in range(12)]
            rig.submit(*({"id": task} for task in ids))
            heads = rig.until_ended(*ids)
            assert second.stop() == 0, second.said()
        assert {head.state for head in heads.values()} == {State.SUCCEEDED}
        found = rig.outputs() + rig.outputs(elsewhere)
        assert found == rig.finals() == dict.fromkeys(ids, 1)
        assert rig.outputs(elsewhere)
        wider = rig.same(other, topics={"partitions": 3})
        with rig.daemon("c", file=wider) as third:
            until(lambda: '"code":"E342"' in third.said(), 60, third.said)
            assert "Set `topics.partitions: 2`" in third.said()
        owns(first, 2)
