"""`meta`, the first record of a journal: what inbox and journal were when they were made."""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from typing import Any, Final

from confluent_kafka import Producer

from kafka_etl.envelope import Encoded
from kafka_etl.errors import BrokersUnreachable, JournalUnreadable
from kafka_etl.kafka.client.settings import make_client
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.cluster.topics import read_ranges, whole
from kafka_etl.kafka.tasks.settings import TaskInboxSettings
from kafka_etl.kafka.transactions.produce import produce_record
from kafka_etl.record import Partition
from kafka_etl.tasks.journal import (
    BadMark,
    Kind,
    Meta,
    decode_meta,
    encode_meta,
    meta_key,
    parse_key,
)

_WRITTEN_WITHIN: Final = 30.0


def read_meta(admin: Admin, settings: Mapping[str, Any], journal: str) -> Meta | None:
    """`meta` of a journal; None: the journal has none.

    Raises:
        JournalUnreadable: This release cannot read the record.
        KafkaEtlError: A broker refuses the request, or no broker answers.
    """
    for record in read_ranges(settings, whole(admin, [Partition(journal, 0)])):
        key, value = parse_key(record.key()), record.value()
        if key is not None and key.kind is Kind.META and value is not None:
            try:
                return decode_meta(value)
            except BadMark as bad:
                raise JournalUnreadable(f"{journal}[0] has {bad}") from bad
    return None


def write_meta(
    client: Mapping[str, Any], settings: TaskInboxSettings, ids: Mapping[str, str]
) -> None:
    """Write `meta`; two owners that begin at the same time write the same.

    Args:
        client: Settings of the producer.
        settings: Settings of the pipeline.
        ids: Topic -> Kafka's id of the topic.

    Raises:
        BrokersUnreachable: No broker has taken the record.
    """
    inbox, journal = settings.inbox, settings.journal
    meta = Meta(
        partitions=settings.partitions,
        inbox=ids.get(inbox, ""),
        journal=ids.get(journal, ""),
        created_ms=time_ns() // 1_000_000,
        order=settings.order,
    )
    producer = make_client(Producer, {**client, "acks": "all", "linger.ms": 0})
    produce_record(producer, journal, 0, Encoded(meta_key(), encode_meta(meta), []))
    if producer.flush(_WRITTEN_WITHIN):
        raise BrokersUnreachable(f"{journal}[0] has not taken its first record")
