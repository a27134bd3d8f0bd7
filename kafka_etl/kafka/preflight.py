"""Before any worker joins: topics, rights, limits, and where the group begins."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from confluent_kafka import Consumer, Producer

from kafka_etl.contracts import Deployment, Preflight
from kafka_etl.errors import TopicMissing, TopicNotCreated
from kafka_etl.kafka.admin import Admin, connect
from kafka_etl.kafka.client_settings import (
    admin_settings,
    consumer_settings,
    make_client,
    producer_settings,
)
from kafka_etl.kafka.membership import enter
from kafka_etl.kafka.settings import CreateSettings, KafkaSourceSettings
from kafka_etl.record import Partition

_DEFAULT_LIMIT: Final = 1_048_588
"""Kafka's own default of `max.message.bytes`."""
_VISIBLE_AFTER: Final = 15.0


def check_source(settings: KafkaSourceSettings, deployment: Deployment) -> Preflight:
    """The source's topics can be read, and the group has an offset wherever it begins."""
    group = settings.group or deployment.pipeline
    static = settings.membership == "static"
    _try_consumer(_offline(consumer_settings(deployment, group, static=static)), settings)
    admin = _admin(deployment)
    existing = admin.topics()
    topics = _source_topics(settings, admin, existing)
    admin.require_rights(topics, "READ")
    admin.require_group_rights(group, "READ")
    partitions = [Partition(topic, n) for topic in topics for n in range(existing[topic])]
    committed = admin.committed(group, partitions)
    notes = _apply_start(settings, admin, group, partitions, committed)
    ends = admin.latest(partitions)
    begins = admin.earliest(partitions)
    return Preflight(
        partitions={topic: existing[topic] for topic in topics},
        ends={tp: end for tp, end in ends.items() if end > committed.get(tp, begins[tp])},
        notes=notes,
    )


def check_topics(
    topics: Iterable[str], create: CreateSettings | None, deployment: Deployment
) -> Preflight:
    """Topics that the pipeline writes exist, perhaps since now, and may be written."""
    admin = _admin(deployment)
    existing = admin.topics()
    names = list(dict.fromkeys(topics))
    missing = [name for name in names if name not in existing]
    if missing and create is None:
        admin.require_rights(missing, "WRITE")  # says it if it is the rights
        raise TopicMissing(f"topic {', '.join(missing)}, which the pipeline writes, does not exist")
    notes: list[str] = []
    if create is not None and missing:
        partitions = create.partitions or max(deployment.partitions.values(), default=1)
        for name in missing:
            admin.create_topic(name, partitions, create.replication_factor, create.config)
            notes.append(f"created topic {name} with {partitions} partitions")
        existing = _wait_until_visible(admin, missing)
    admin.require_rights(names, "WRITE")
    settings = {name: admin.settings_of(name) for name in names}
    notes += [
        f"topic {name} is compacted: records without a key will be refused"
        for name in names
        if "compact" in settings[name].get("cleanup.policy", "")
    ]
    return Preflight(
        partitions={name: existing[name] for name in names},
        size_limits={
            name: int(settings[name].get("max.message.bytes", _DEFAULT_LIMIT)) for name in names
        },
        notes=tuple(notes),
    )


def check_producer(deployment: Deployment) -> None:
    """The client takes the settings of a worker's producer."""
    make_client(Producer, _offline(producer_settings(deployment)))


def _try_consumer(config: Mapping[str, Any], settings: KafkaSourceSettings) -> None:
    """The client takes the settings of a worker's consumer, and the topics."""
    consumer = make_client(Consumer, config)
    try:
        enter(consumer, settings.topics)
    finally:
        consumer.close()


def _offline(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, for a client that is only made to see whether it can be."""
    return {name: value for name, value in settings.items() if name != "bootstrap.servers"}


def _admin(deployment: Deployment) -> Admin:
    return connect(frozenset(admin_settings(deployment).items()))


def _source_topics(
    settings: KafkaSourceSettings, admin: Admin, existing: dict[str, int]
) -> list[str]:
    if settings.pattern is not None:
        matching = [name for name in existing if settings.reads(name)]
        if not matching:
            raise TopicMissing(f"no topic matches {settings.pattern}")
        return sorted(matching)
    missing = [name for name in settings.topics if name not in existing]
    if missing:
        admin.require_rights(missing, "READ")  # says it if it is the rights
        raise TopicMissing(
            f"source topic {', '.join(missing)} does not exist",
            "Create the topic, or correct source.with.topics.",
        )
    return sorted(set(settings.topics))


def _apply_start(
    settings: KafkaSourceSettings,
    admin: Admin,
    group: str,
    partitions: Sequence[Partition],
    committed: dict[Partition, int],
) -> tuple[str, ...]:
    """Commit, as numbers, where to begin in topics the group has no offset of at all.

    A partition that comes later begins at its beginning, also under `latest`: its records were
    all written after the start.
    """
    known = {tp.topic for tp in committed}
    fresh = [tp for tp in partitions if tp.topic not in known]
    if not fresh:
        return ()
    begins = _begins(settings.start, admin, fresh)
    if not admin.commit(group, begins):
        return ()  # it has members: another worker has been here before
    committed.update(begins)
    topics = ", ".join(sorted({tp.topic for tp in fresh}))
    return (f"group {group} begins in {topics} at {settings.start}",)


def _begins(
    start: str | datetime, admin: Admin, partitions: Sequence[Partition]
) -> dict[Partition, int]:
    if start == "earliest":
        return admin.earliest(partitions)
    ends = admin.latest(partitions)
    if not isinstance(start, datetime):
        return ends
    found = admin.at_time(partitions, int(start.timestamp() * 1000))
    return {tp: offset if offset >= 0 else ends[tp] for tp, offset in found.items()}


def _wait_until_visible(admin: Admin, names: Sequence[str]) -> dict[str, int]:
    deadline = time.monotonic() + _VISIBLE_AFTER
    while True:
        existing = admin.topics()
        if all(existing.get(name) for name in names):
            return existing
        if time.monotonic() > deadline:
            raise TopicNotCreated(f"topic {', '.join(names)} was created but does not show up")
        time.sleep(0.1)
