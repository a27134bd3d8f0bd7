"""`kafka-etl doctor` with a real Kafka: the facts that it gathers, and that it changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from confluent_kafka import OFFSET_INVALID

from tests.kit.daemon import command
from tests.kit.kafka import Kafka

PIPELINE = """
name: {name}
kafka: {{bootstrap.servers: "{servers}"}}
source: {{use: kafka, with: {{topics: [{topic}], value: json}}}}
sink: {{use: kafka, with: {{topic: {name}-out, create: {{partitions: 1}}}}}}
dead_letter: {{topic: {letters}}}
"""


def test_it_sees_what_hurts_and_changes_nothing(kafka: Kafka, tmp_path: Path) -> None:
    name = kafka.name()
    topic = kafka.topic(2, **{"retention.ms": "3600000", "max.message.bytes": "5000000"})
    letters = kafka.topic(1, **{"cleanup.policy": "compact"})
    kafka.produce(topic, [b"{}"])
    servers = kafka.client["bootstrap.servers"]
    text = PIPELINE.format(name=name, servers=servers, topic=topic, letters=letters)
    (tmp_path / "p.yaml").write_text(text)
    done = command("doctor", "p.yaml", "--format", "json", "--state-dir", "state", cwd=tmp_path)
    assert done.stdout, done.stderr
    found = [(each["check"], each["status"]) for each in json.loads(done.stdout)]
    assert done.returncode == 1, done.stdout + done.stderr
    assert set(found) >= {
        ("brokers", "ok"),
        ("Kafka version", "ok"),
        ("topics", "ok"),
        ("rights", "ok"),
        ("transactional id", "ok"),
        ("group", "ok"),
        ("retention", "warn"),
        ("compaction", "fail"),
        ("record sizes", "warn"),
        ("clocks", "ok"),
    }
    assert f"{name}-out" not in kafka.admin.list_topics().topics
    assert set(kafka.committed(name, topic).values()) == {OFFSET_INVALID}


TASKS = """
name: {name}
mode: task
kafka: {{bootstrap.servers: "{servers}"}}
source: {{use: kafka, with: {{topics: [{topic}], value: json}}}}
operator: {{use: "ops:work", limits: {{}}}}
on_success:
  - {{use: sqlite, with: {{path: done.db, table: done, columns: {{id: value.id}}}}}}
on_failure: {{topic: {name}-failed}}
topics: {{partitions: 3}}
"""


def test_it_sees_what_hurts_tasks_and_their_targets(kafka: Kafka, tmp_path: Path) -> None:
    name, topic = kafka.name(), kafka.topic(1)
    kafka.topic(3, f"{name}.inbox", **{"retention.ms": "3600000", "max.message.bytes": "100000"})
    kafka.topic(2, f"{name}.journal", **{"cleanup.policy": "delete"})
    servers = kafka.client["bootstrap.servers"]
    (tmp_path / "p.yaml").write_text(TASKS.format(name=name, servers=servers, topic=topic))
    (tmp_path / "ops.py").write_text("def work(value: dict) -> dict:\n    return value\n")
    (tmp_path / "done.db").touch()
    before = kafka.admin.list_topics().topics.keys()
    done = command("doctor", "p.yaml", "--format", "json", "--state-dir", "state", cwd=tmp_path)
    assert done.stdout, done.stderr
    found = [(each["check"], each["status"], each["what"]) for each in json.loads(done.stdout)]

    def says(check: str, status: str, what: str) -> bool:
        return any((check, status) == (c, s) and what in said for c, s, said in found)

    assert says("task topics", "fail", f"{name}.journal (journal) has 2 partitions"), done.stdout
    assert says("task topics", "fail", "cleanup.policy=delete")
    assert says("task topics", "fail", "message.timestamp.type=CreateTime")
    assert says("task retention", "warn", "for 1h, and the pipeline needs them for 10d")
    assert says("result sizes", "warn", "takes records of")
    assert says("targets", "fail", "outputs to sqlite: done.db has no table done")
    assert (tmp_path / "done.db").read_bytes() == b""
    assert kafka.admin.list_topics().topics.keys() == before
