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
        ("group", "ok"),
        ("retention", "warn"),
        ("compaction", "fail"),
        ("record sizes", "warn"),
        ("clocks", "ok"),
    }
    assert f"{name}-out" not in kafka.admin.list_topics().topics
    assert set(kafka.committed(name, topic).values()) == {OFFSET_INVALID}
