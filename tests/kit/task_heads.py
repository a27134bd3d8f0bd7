"""What the journal of a task pipeline has, read from outside."""

from __future__ import annotations

from kafka_etl.tasks.head import Head, decode_head
from kafka_etl.tasks.journal import Kind, parse_key
from tests.kit.kafka import Kafka

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
