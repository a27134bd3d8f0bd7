"""The topics of tasks: what is lost or unreadable there stops the pipeline, and costs no task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from kafka_etl.tasks.head import Head
from kafka_etl.tasks.journal import head_key, mark_key, meta_key
from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Stop, encode_word
from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.task_faults import TaskRig, owns, until


@pytest.fixture
def rig(tmp_path: Path, kafka: Kafka) -> TaskRig:
    """A pipeline, stopped, with a task that has succeeded and one that has failed."""
    made = TaskRig(tmp_path, kafka)
    with made.daemon("a") as daemon:
        owns(daemon)
        made.submit({"id": "done"}, {"id": "bad", "bad": 1})
        made.until_ended("done", "bad")
        assert daemon.stop() == 0, daemon.said()
    return made


def refuses(daemon: Daemon, code: str, seconds: float = 60) -> str:
    """Wait until the pipeline has failed with a code; returns the log."""

    def failed() -> bool:
        lines = daemon.said().splitlines()
        return any(f'"code":"{code}"' in line and '"event":"failed"' in line for line in lines)

    until(failed, seconds, lambda: daemon.said()[-3000:])
    return daemon.said()


def delete_group(rig: TaskRig) -> None:
    """Delete the owners' group, whose static members stay for their session timeout."""

    def is_deleted() -> bool:
        try:
            rig.kafka.admin.delete_consumer_groups([rig.group])[rig.group].result(20)
        except KafkaException:
            return False
        return True

    until(is_deleted)


def is_unchanged(rig: TaskRig, before: dict[str, Head]) -> None:
    assert rig.heads() == before
    assert rig.ran() == {"done": 1, "bad": 1}
    assert rig.outputs() == {"done": 1}
    assert len(rig.failures()) == 1


def test_without_the_offsets_of_the_group_nothing_runs_twice(rig: TaskRig) -> None:
    before = rig.heads()
    delete_group(rig)
    with rig.daemon("a") as daemon:
        owns(daemon)
        rig.submit({"id": "after"})
        rig.until_ended("after")
        assert daemon.stop() == 0, daemon.said()
    heads = rig.heads()
    assert {task: heads[task] for task in before} == before
    assert rig.ran() == {"done": 1, "bad": 1, "after": 1}
    assert rig.outputs() == {"done": 1, "after": 1}


def test_a_journal_that_is_gone_is_not_made_anew(rig: TaskRig) -> None:
    rig.kafka.delete_topic(rig.journal)
    with rig.daemon("a") as daemon:
        said = refuses(daemon, "E409")
    assert f"topic {rig.journal} is gone" in said
    assert "start over, which forgets all tasks" in said
    assert rig.journal not in rig.kafka.admin.list_topics(timeout=10).topics


def test_a_journal_that_was_made_anew_is_no_journal(rig: TaskRig) -> None:
    rig.kafka.delete_topic(rig.journal)
    rig.kafka.topic(1, rig.journal, cleanup_policy="compact")
    with rig.daemon("a") as daemon:
        said = refuses(daemon, "E409")
        assert "the journal has no record of what became of them" in said
    assert rig.ran() == {"done": 1, "bad": 1}


def test_an_inbox_that_was_made_anew_is_another_inbox(rig: TaskRig) -> None:
    before = rig.heads()
    rig.kafka.delete_topic(rig.inbox)
    with rig.daemon("a") as daemon:
        said = refuses(daemon, "E409")
        assert f"topic {rig.inbox} is not the one that {rig.journal} was begun with" in said
    is_unchanged(rig, before)


def test_one_begins_anew_without_topics_and_group(rig: TaskRig) -> None:
    """The next step that the error names."""
    rig.kafka.delete_topic(rig.journal)
    rig.kafka.delete_topic(rig.inbox)
    delete_group(rig)
    with rig.daemon("a") as daemon:
        owns(daemon)
        rig.submit({"id": "done"})
        rig.until_ended("done")
        assert daemon.stop() == 0, daemon.said()
    assert rig.ran()["done"] == 2


def test_topics_that_no_longer_are_as_they_must_be_stop_the_pipeline(rig: TaskRig) -> None:
    def alter(topic: str, name: str, value: str) -> None:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        operation = AlterConfigOpType.SET
        resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=operation))
        rig.kafka.admin.incremental_alter_configs([resource])[resource].result(20)

    for topic, name, wrong, right in (
        (rig.journal, "cleanup.policy", "delete", "compact"),
        (rig.inbox, "message.timestamp.type", "CreateTime", "LogAppendTime"),
    ):
        alter(topic, name, wrong)
        with rig.daemon("a") as daemon:
            said = refuses(daemon, "E342")
            assert f"topic {topic} has {name}={wrong}, and must have {right}" in said
        alter(topic, name, right)


def test_the_number_of_partitions_is_fixed_for_life(rig: TaskRig) -> None:
    rig.spec["topics"] = {"partitions": 2}
    rig.write()
    with rig.daemon("a") as daemon:
        assert "Set `topics.partitions: 1`" in refuses(daemon, "E342")
    rig.kafka.add_partitions(rig.inbox, 2)
    rig.kafka.add_partitions(rig.journal, 2)
    with rig.daemon("a") as daemon:
        assert "has 2 partitions, and was made with 1" in refuses(daemon, "E342")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (mark_key(), b"{"),
        (mark_key(), b'{"inbox":1,"n":1,"writer":"x","at_ms":1,"v":2}'),
    ],
)
def test_a_mark_that_cannot_be_read_stops_the_pipeline(
    rig: TaskRig, key: bytes, value: bytes
) -> None:
    rig.kafka.produce(rig.journal, [{"key": key, "value": value, "partition": 0}])
    with rig.daemon("a") as daemon:
        assert f"the journal of {rig.inbox}[0] has" in refuses(daemon, "E341")
    assert rig.ran() == {"done": 1, "bad": 1}


def test_a_journal_of_a_later_format_stops_the_pipeline(tmp_path: Path, kafka: Kafka) -> None:
    rig = TaskRig(tmp_path, kafka)
    kafka.topic(1, rig.journal, cleanup_policy="compact")
    later = b'{"partitions":1,"inbox":"","journal":"","created_ms":1,"v":2}'
    kafka.produce(rig.journal, [{"key": meta_key(), "value": later, "partition": 0}])
    with rig.daemon("a") as daemon:
        assert "format 2; this release reads up to 1" in refuses(daemon, "E341")


def test_a_head_that_cannot_be_read_keeps_its_id_until_somebody_forgets_it(rig: TaskRig) -> None:
    rig.kafka.produce(rig.journal, [{"key": head_key("done"), "value": b"{", "partition": 0}])
    with rig.daemon("a") as daemon:
        owns(daemon)
        rig.submit({"id": "done"}, {"id": "after"})
        until(lambda: rig.outputs()["after"] == 1)
        assert rig.ran()["done"] == 1
        kafka = ["--kafka", rig.kafka.bootstrap]
        listed = command(
            *("tasks", "list", rig.name, "--state", "unreadable", "--format", "json"),
            *kafka,
            cwd=rig.folder,
        )
        assert json.loads(listed.stdout)["id"] == "done", listed.stderr
        done = command("tasks", "forget", rig.name, "done", *kafka, cwd=rig.folder)
        assert done.stdout == "done  Forgotten\n", done.stderr
        rig.submit({"id": "done"})
        rig.until_state("done", State.SUCCEEDED)
        assert daemon.stop() == 0, daemon.said()
    assert rig.ran()["done"] == 2


def test_what_is_no_word_goes_as_it_is_to_the_failures(rig: TaskRig) -> None:
    """As raw records, which is what most pipelines write."""
    letters = rig.kafka.topic(1)
    rig.spec["on_failure"] = {"topic": letters}
    rig.write()
    with rig.daemon("a") as daemon:
        owns(daemon)
        rig.put("t", b"raw \xff", [("k", b"sing"), ("mine", b"1")])
        rig.put(None, b"keyless", encode_word(Stop(word="1")).headers)
        rig.put("x" * 300, b"{}", [("k", b"submit"), ("v", b"1"), ("m", b"{}")])
        rig.submit({"id": "after"})
        rig.until_ended("after")
        assert daemon.stop() == 0, daemon.said()
    found = rig.kafka.read(letters)
    assert [record.value for record in found] == [b"raw \xff", b"keyless", b"{}"]
    assert [record.key for record in found] == [b"t", None, b"x" * 300]
    assert found[0].header("mine") == "1"
    assert {record.header("kafka_etl.condition") for record in found} == {"Invalid"}


def test_a_hundred_that_are_no_words_in_a_row_stop_the_pipeline(rig: TaskRig) -> None:
    with rig.daemon("a") as daemon:
        owns(daemon)
        junk = [{"key": "t", "value": str(n), "partition": 0} for n in range(130)]
        rig.kafka.produce(rig.inbox, junk)
        said = refuses(daemon, "E410")
        assert "records in a row are no words" in said
    assert len(rig.failures()) >= 101
    with rig.daemon("a") as daemon:  # which goes on behind them
        owns(daemon)
        rig.submit({"id": "after"})
        rig.until_ended("after")
        assert daemon.stop() == 0, daemon.said()
