"""What all kits of task pipelines share: the file, and what the journal has, read from outside."""

from __future__ import annotations

from typing import Any, Protocol

from kafka_etl.tasks.head import Head, decode_head
from kafka_etl.tasks.journal import Kind, parse_key
from tests.kit.kafka import Kafka


class Parts(Protocol):
    """A pipeline, as its file needs it."""

    kafka: Kafka
    name: str
    source: str
    results: str


def spec_of(
    parts: Parts, operator: dict[str, Any], partitions: int, letters: str = ""
) -> dict[str, Any]:
    """The content of a pipeline file: JSON in and out, `ops:work`, ids from `value.id`.

    Args:
        parts: The pipeline.
        operator: Settings of the operator.
        partitions: Number of partitions of inbox and journal.
        letters: Topic of dead letters; empty: beside the results.
    """
    return {
        "name": parts.name,
        "mode": "task",
        "kafka": {"bootstrap.servers": parts.kafka.bootstrap},
        "source": {"use": "kafka", "with": {"topics": [parts.source], "value": "json"}},
        "operator": {"use": "ops:work", **operator},
        "id": "value.id",
        "on_success": {"use": "kafka", "with": {"topic": parts.results}},
        "on_failure": {"topic": letters or f"{parts.results}.dlq", "format": "envelope"},
        "topics": {"partitions": partitions},
    }


Entry = tuple[Kind, str, bytes | None, int]
"""Kind of the record, id of the task, value, number of the partition."""


def journal_of(kafka: Kafka, pipeline: str) -> list[Entry]:
    """The records of a pipeline's journal; none: the daemon has not made it yet."""
    journal = f"{pipeline}.journal"
    if journal not in kafka.admin.list_topics(timeout=10).topics:
        return []
    keyed = [(parse_key(r.key), r.value, r.partition) for r in kafka.read(journal)]
    return [(k.kind, k.task, value, number) for k, value, number in keyed if k is not None]


def heads_of(kafka: Kafka, pipeline: str) -> dict[str, Head]:
    """Id -> the present head of the task; without those that were forgotten."""
    last = {task: v for kind, task, v, _ in journal_of(kafka, pipeline) if kind is Kind.HEAD}
    return {task: decode_head(value) for task, value in last.items() if value is not None}
