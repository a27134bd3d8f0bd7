"""`kafka-etl validate --connect`: what only the servers know, and that nothing is changed there."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from confluent_kafka import OFFSET_INVALID

from tests.kit.daemon import command
from tests.kit.kafka import Kafka
from tests.kit.registry import register, stand_in

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "id", "type": "long"}, {"name": "amount", "type": "string"}],
}
OPS = """
from dataclasses import dataclass

@dataclass
class Order:
    id: int
    currency: str
    amount: list[str]

def to_eur(order: Order) -> Order:
    return order

def work(task: dict) -> dict:
    return task
"""
STREAM = """
name: {name}
kafka: {{bootstrap.servers: "{servers}"}}
registry: {{url: "{registry}", timeout: 1}}
source: {{use: kafka, with: {{topics: [{topic}], value: avro}}}}
operators: [{{use: filter, with: {{where: value.id > 1}}}}, ops:to_eur]
sink: {{use: kafka, with: {{topic: {name}-out, value: avro, create: {{partitions: 1}}}}}}
dead_letter: {{topic: {name}-dead}}
"""
TABLE = """
name: {name}-table
kafka: {{bootstrap.servers: "{servers}"}}
source: {{use: kafka, with: {{topics: [{topic}, {name}-none], value: json}}}}
sink: {{use: sqlite, with: {{path: rows.db, table: orders}}}}
"""
TASKS = """
name: {name}-tasks
mode: task
kafka: {{bootstrap.servers: "{servers}"}}
source: {{use: kafka, with: {{topics: [{topic}], value: json}}}}
operator: ops:work
on_success: {{use: kafka, with: {{topic: {name}-done, create: {{partitions: 1}}}}}}
on_failure: {{topic: {name}-failed}}
"""


def test_it_looks_at_cluster_registry_and_targets_and_changes_nothing(
    kafka: Kafka, tmp_path: Path
) -> None:
    name, topic = kafka.name(), kafka.topic(2)
    (tmp_path / "ops.py").write_text(OPS)
    with sqlite3.connect(tmp_path / "rows.db"), stand_in() as registry:
        register(registry.url, f"{topic}-value", ORDER)
        for file, text in (("stream", STREAM), ("table", TABLE), ("tasks", TASKS)):
            values = {"servers": kafka.client["bootstrap.servers"], "registry": registry.url}
            (tmp_path / f"{file}.yaml").write_text(text.format(name=name, topic=topic, **values))
        before = set(kafka.admin.list_topics().topics) - {"__consumer_offsets"}
        done = command("validate", ".", "--connect", "--format", "json", cwd=tmp_path)
        misfit = (
            f"operator to_eur takes Order, and values of topic {topic} do not fit: by their "
            "latest schema"
        )
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(each["path"], each["line"], each["code"], each["message"]) for each in found] == [
            ("stream.yaml", 6, "E113", f"{misfit}, field `currency` is missing"),
            ("stream.yaml", 6, "E113", f"{misfit}, field `amount` is str, not list"),
            (
                "stream.yaml",
                7,
                "E308",
                f"subject {name}-out-value is not in the schema registry {registry.url}",
            ),
            ("table.yaml", 4, "E302", f"source topic {name}-none does not exist"),
            ("table.yaml", 5, "E406", "rows.db has no table orders"),
        ], done.stderr
        assert all(each["hint"] for each in found)
        told = command("validate", "tasks.yaml", "--connect", cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        assert f"topic {name}-done would be created with 1 partition" in told.stdout
        assert f"group {name}-tasks would begin in {topic} at earliest" in told.stdout
        assert not any("/versions" in path and "latest" not in path for path in registry.asked[1:])
    assert set(kafka.admin.list_topics().topics) - {"__consumer_offsets"} == before
    assert set(kafka.committed(name, topic).values()) == {OFFSET_INVALID}
