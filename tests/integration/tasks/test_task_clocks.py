"""Hosts whose clocks are an hour apart share a task pipeline."""

from __future__ import annotations

from pathlib import Path

from kafka_etl.tasks.states import State
from tests.kit.kafka import Kafka
from tests.kit.task_faults import TaskRig, owns


def test_no_task_expires_or_is_lost_for_the_clock_of_a_host(tmp_path: Path, kafka: Kafka) -> None:
    """Tasks may wait for half an hour; those of the first host move to the second as they run."""
    rig = TaskRig(tmp_path, kafka, partitions=2, max_age="30m", dedup={"window": "30m"})
    faults = rig.faults("a")
    faults.clock_ahead = 3600.0
    first_half, second_half = [f"a{n}" for n in range(4)], [f"b{n}" for n in range(4)]
    with rig.daemon("a", faults) as first:
        owns(first, 2)
        rig.submit(
            {"id": "fails", "fails": 1}, *({"id": task, "seconds": 3} for task in first_half)
        )
        rig.until_state("a0", State.RUNNING, State.SUCCEEDED)
        with rig.daemon("b") as second:
            owns(second, 1)
            rig.submit(*({"id": task} for task in (*first_half, *second_half)))
            heads = rig.until_ended("fails", *first_half, *second_half)
            assert second.stop() == 0, second.said()
        assert "clock differs from the brokers'" in first.said()
        assert first.stop() == 0, first.said()
    assert heads.pop("fails").state is State.FAILED
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert {head.attempts.total for head in heads.values()} == {1}
    assert rig.outputs() == dict.fromkeys([*first_half, *second_half], 1)
    assert rig.ran().pop("fails") == 2
