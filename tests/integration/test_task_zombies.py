"""Owners of tasks that stop in the midst of a commit, and wake when another has their partition."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kafka_etl.tasks.states import State
from tests.kit.kafka import Kafka
from tests.kit.task_faults import Faults, TaskRig, go_on, owns

PLACES = ("after_begin", "after_produce", "after_send_offsets")


@pytest.fixture
def rig(tmp_path: Path, kafka: Kafka) -> TaskRig:
    return TaskRig(tmp_path, kafka)


def commit_of(kind: str, rig: TaskRig, faults: Faults, place: str) -> str:
    """Bring about a commit that holds only one kind of change; returns the task's id."""
    match kind:
        case "grant":
            faults.order(State.DEQUEUED, place=place, action="stop")
            rig.submit({"id": "t"})
        case "due":
            rig.submit({"id": "t", "fails": 1})
            rig.until_state("t", State.RETRYING)
            faults.order(State.DEQUEUED, place=place, action="stop")
        case "expiry":
            rig.submit({"id": "long", "seconds": 25})
            rig.until_state("long", State.RUNNING)
            faults.order(State.EXPIRED, place=place, action="stop")
            rig.submit({"id": "t"})
        case _:
            faults.order(State.SUCCEEDED, place=place, action="stop")
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
