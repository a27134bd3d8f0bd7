"""Owners of tasks that stop in the midst of a commit, and wake when another has their partition."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Stop
from tests.kit.kafka import Kafka
from tests.kit.proxy import END_TXN, Proxy, far_cluster
from tests.kit.task_faults import Faults, TaskRig, go_on, owns, until

PLACES = ("after_begin", "after_produce", "after_send_offsets")


def commit_of(kind: str, rig: TaskRig, faults: Faults, place: str, action: str = "stop") -> str:
    """Bring about a commit that holds only one kind of change; returns the task's id."""
    match kind:
        case "grant":
            faults.order(State.DEQUEUED, place=place, action=action)
            rig.submit({"id": "t"})
        case "due":
            faults.order(State.DEQUEUED, place=place, action=action, nth=2)
            rig.submit({"id": "t", "fails": 1})
        case "expiry":
            rig.submit({"id": "long", "seconds": 25})
            rig.until_state("long", State.RUNNING)
            faults.order(State.EXPIRED, place=place, action=action)
            rig.submit({"id": "t"})
        case _:
            faults.order(State.SUCCEEDED, place=place, action=action)
            rig.submit({"id": "t"})
    return "t"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["grant", "due", "expiry", "final"])
def test_an_owner_that_wakes_when_its_partition_has_moved_changes_nothing(
    tmp_path: Path, kafka: Kafka, kind: str, place: str
) -> None:
    rig = TaskRig(tmp_path, kafka, **({"max_age": "5s"} if kind == "expiry" else {}))
    faults = rig.faults("a")
    with rig.daemon("a", faults) as first:
        owns(first)
        task = commit_of(kind, rig, faults, place)
        owner = faults.struck()
        with rig.daemon("b") as second:
            owns(second)
            heads = rig.until_ended(task)
            go_on(owner)
            time.sleep(5)  # what a zombie would write, it would write now
            rig.submit({"id": "after"})
            rig.until_ended("after")
            assert rig.mark().writer == f"kafka-etl.{rig.group}.b.0"
            assert second.stop() == 0, second.said()
        assert first.process.poll() is None, first.said()
    assert rig.finals()[task] == 1
    if kind in {"grant", "final"}:
        assert heads[task].state is State.SUCCEEDED
        assert rig.outputs() == {task: 1, "after": 1}
    elif kind == "due":
        assert (heads[task].state, heads[task].attempts.counted) == (State.FAILED, 2)
        assert len(rig.failures()) == 1
    else:
        assert heads[task].state is State.EXPIRED
        assert [f["requestContext"]["condition"] for f in rig.failures()] == ["Expired"]
    if kind == "final":
        assert rig.ran()[task] == 1


@pytest.mark.parametrize("kind", ["grant", "final"])
def test_an_owner_that_wakes_before_its_transaction_times_out_has_committed(
    tmp_path: Path, kafka: Kafka, kind: str
) -> None:
    """The partition has moved by then, and its new owner has waited for the outcome."""
    rig = TaskRig(tmp_path, kafka, producer={"transaction.timeout.ms": 60_000})
    faults = rig.faults("a")
    with rig.daemon("a", faults) as first:
        owns(first)
        task = commit_of(kind, rig, faults, "after_send_offsets")
        owner = faults.struck()
        with rig.daemon("b") as second:
            deadline = time.monotonic() + 60
            while rig.members() != ["b"]:  # the session of the first is over
                assert time.monotonic() < deadline, second.said()[-3000:]
                time.sleep(0.5)
            time.sleep(2)
            assert rig.heads().get(task) is None or rig.states()[task] is not State.SUCCEEDED
            go_on(owner)
            heads = rig.until_ended(task)
            owns(second)
            rig.submit({"id": "after"})
            rig.until_ended("after")
            assert rig.mark().writer == f"kafka-etl.{rig.group}.b.0"
            assert second.stop() == 0, second.said()
    assert rig.finals()[task] == 1
    assert (heads[task].state, heads[task].attempts.total) == (State.SUCCEEDED, 1)
    assert rig.ran()[task] == 1
    assert rig.outputs() == {task: 1, "after": 1}


@pytest.mark.parametrize("kind", ["grant", "stop", "final"])
def test_an_owner_that_dies_right_behind_its_commit_has_told_nobody(
    tmp_path: Path, kafka: Kafka, kind: str
) -> None:
    """The next owner does what follows from the commit: it grants again, it stops what runs."""
    rig = TaskRig(tmp_path, kafka)
    faults = rig.faults("a")
    with rig.daemon("a", faults) as daemon:
        owns(daemon)
        if kind == "stop":
            rig.submit({"id": "t", "seconds": 300})
            rig.until_state("t", State.RUNNING)
            faults.order(State.STOPPING, place="after_commit", action="kill")
            rig.say("t", Stop(word="1", by="me"))
        else:
            commit_of(kind, rig, faults, "after_commit", "kill")
        faults.struck()
        head = rig.until_ended("t")["t"]
        rig.submit({"id": "after"})
        rig.until_ended("after")
        assert daemon.stop() == 0, daemon.said()
    assert rig.finals() == rig.ran() == {"t": 1, "after": 1}
    if kind == "stop":
        assert head.state is State.STOPPED
        assert head.stop is not None
        assert not head.stop.unconfirmed
    else:
        assert (head.state, head.attempts.counted) == (State.SUCCEEDED, 0)
        assert rig.outputs() == {"t": 1, "after": 1}


# Lost answers


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Proxy]]:
    with far_cluster(tmp_path_factory.mktemp("far")) as (cluster, proxy):
        yield Kafka(cluster.bootstrap), proxy


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("kind", ["grant", "due", "expiry", "final"])
def test_after_a_lost_answer_to_a_commit_memory_equals_the_journal(
    tmp_path: Path, network: tuple[Kafka, Proxy], kind: str, cut: bool
) -> None:
    kafka, proxy = network
    rig = TaskRig(
        tmp_path,
        kafka,
        bootstrap=f"127.0.0.1:{proxy.port}",
        producer={"socket.timeout.ms": 3_000},
        **({"max_age": "5s"} if kind == "expiry" else {}),
    )
    faults = rig.faults("a")
    with rig.daemon("a", faults) as daemon:
        owns(daemon)
        task = commit_of(kind, rig, faults, "after_send_offsets", "hold")
        faults.struck()
        lost = proxy.lose_answer(END_TXN, cut=cut)
        faults.release()
        lost.wait()
        heads = rig.until_ended(task)
        rig.submit({"id": "after"})
        rig.until_ended("after")
        until(lambda: faults.memory() == {t: s.value for t, s in rig.states().items()}, 20)
        assert daemon.stop() == 0, daemon.said()
    assert rig.finals()[task] == 1
    match kind:
        case "due":
            assert (heads[task].state, rig.ran()[task]) == (State.FAILED, 2)
            assert len(rig.failures()) == 1
        case "expiry":
            assert heads[task].state is State.EXPIRED
        case _:
            assert (heads[task].state, rig.ran()[task]) == (State.SUCCEEDED, 1)
            assert rig.outputs()[task] == 1
