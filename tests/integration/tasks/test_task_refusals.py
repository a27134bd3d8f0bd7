"""Outcomes of tasks that a topic refuses: they cost their own task, and no other waits for them."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from kafka_etl.tasks.states import State
from tests.kit.kafka import Kafka
from tests.kit.task_faults import TaskRig, owns, until


def limit(kafka: Kafka, topic: str, size: int) -> None:
    """Have a topic take records of so many bytes from now on."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource.add_incremental_config(entry)
    kafka.admin.incremental_alter_configs([resource])[resource].result(20)


def test_a_result_that_its_topic_refuses_fails_its_task_alone(tmp_path: Path, kafka: Kafka) -> None:
    rig = TaskRig(tmp_path, kafka, partitions=2, operator={"concurrency": 4})
    with rig.daemon("a") as daemon:
        owns(daemon, 2)
        limit(kafka, rig.results, 5_000)  # smaller than when the daemon began
        small = [f"s{n}" for n in range(8)]
        rig.submit(*({"id": task} for task in small[:4]))
        rig.submit({"id": "large", "size": 20_000})
        rig.submit(*({"id": task} for task in small[4:]))
        heads = rig.until_ended("large", *small)
        assert daemon.stop() == 0, daemon.said()
    assert rig.outputs() == dict.fromkeys(small, 1)
    head = heads["large"]
    assert head.error is not None
    assert (head.state, head.error.type) == (State.FAILED, "SinkFailed")
    assert "MSG_SIZE_TOO_LARGE" in head.error.message
    assert rig.finals()["large"] == 1
    assert rig.ran()["large"] == 1
    (letter,) = rig.failures()
    assert letter["requestContext"]["condition"] == "Refused"


def test_a_topic_that_was_deleted_stops_nobody(tmp_path: Path, kafka: Kafka) -> None:
    rig = TaskRig(tmp_path, kafka, partitions=2, operator={"concurrency": 2})
    with rig.daemon("a") as daemon:
        owns(daemon, 2)
        rig.submit({"id": "before"})
        rig.until_ended("before")
        kafka.delete_topic(rig.results)
        rig.submit({"id": "lost"}, {"id": "bad", "bad": 1})
        heads = rig.until_ended("lost", "bad", seconds=120)
        assert heads["bad"].state is State.FAILED
        error = heads["lost"].error
        assert error is not None
        assert (error.type, rig.ran()["lost"]) == ("SinkFailed", 1)
        assert f"topic {rig.results} does not exist" in error.message
        kafka.topic(1, rig.results)
        rig.submit({"id": "after"})
        until(lambda: rig.outputs()["after"] == 1, 90, rig.states)
        assert daemon.stop() == 0, daemon.said()
