"""Preflight of Kafka pipelines: topics, rights, limits, and the first offsets of the group."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final

from confluent_kafka import Consumer, Producer

from kafka_etl.contracts import Deployment, Preflight
from kafka_etl.errors import TopicMissing, TopicNotCreated
from kafka_etl.kafka.client.settings import (
    admin_settings,
    consumer_settings,
    make_client,
    producer_settings,
)
from kafka_etl.kafka.cluster.admin import Admin, connect, listed
from kafka_etl.kafka.settings import CreateSettings, KafkaSinkSettings, KafkaSourceSettings
from kafka_etl.kafka.source.membership import enter
from kafka_etl.record import Partition

_DEFAULT_LIMIT: Final = 1_048_588
"""Bytes: Kafka's own default of `max.message.bytes`."""
_VISIBLE_AFTER: Final = 15.0
_CREATE_OR_CORRECT: Final = (
    "Correct source.with.topics, or create the topic with its first records: "
    "`kafka-etl send NAME FILE --create --partitions N`."
)


def check_source(settings: KafkaSourceSettings, deployment: Deployment) -> Preflight:
    """Check that the source's topics can be read, and set the group's first offsets.

    With `looks_only` no offset is set, and a note says where the group would begin.

    Raises:
        KafkaEtlError: A topic is missing, a right is missing, no broker answers, or the client
            refuses its settings.
    """
    group = settings.group or deployment.pipeline
    static = settings.membership == "static"
    _try_consumer(_offline(consumer_settings(deployment, group, static=static)), settings)
    admin = _admin(deployment)
    admin.reach()
    topics = _source_topics(settings, admin)
    admin.require_group_rights(group, "READ")
    partitions = [Partition(topic, n) for topic, count in topics.items() for n in range(count)]
    noted = admin.committed(group, partitions)
    committed = {tp: at.offset for tp, at in noted.items()}
    start = _look_at_start if deployment.looks_only else _apply_start
    notes = start(settings, admin, group, partitions, committed)
    ends = admin.latest(partitions)
    begins = admin.earliest([tp for tp in partitions if tp not in committed])
    limits = admin.settings_of(list(topics)).values()
    return Preflight(
        partitions=topics,
        ends={tp: end for tp, end in ends.items() if end > {**begins, **committed}[tp]},
        all_ends=ends,
        begins={**begins, **committed},
        notes_of_group={tp: at.note for tp, at in noted.items() if at.note},
        cluster=admin.cluster,
        topic_ids={topic: admin.topic_ids.get(topic, "") for topic in topics},
        largest_record=max(map(largest_record, limits), default=_DEFAULT_LIMIT),
        notes=notes,
    )


def check_topics(
    topics: Iterable[str],
    create: CreateSettings | None,
    deployment: Deployment,
    *,
    largest: int = 0,
) -> Preflight:
    """Check that topics can be written, and create missing topics if the pipeline says so.

    With `looks_only` no topic is created, and notes name those that would be.

    Args:
        topics: Names of the topics.
        create: How to create a missing topic; None: a missing topic is an error.
        deployment: Where the pipeline runs.
        largest: Bytes of the largest record that should fit.

    Raises:
        TopicMissing: A topic does not exist, and `create` is None.
        TopicNotCreated: A topic could not be created.
        KafkaEtlError: A right is missing, or no broker answers.
    """
    admin = _admin(deployment)
    admin.reach()
    names = list(dict.fromkeys(topics))
    existing = admin.topics(names, "WRITE")
    missing = [name for name in names if name not in existing]
    if missing and create is None:
        raise TopicMissing(
            f"topic {listed(missing)}, which the pipeline writes, does not exist",
            _question(missing[0], admin) + TopicMissing.advice,
        )
    notes: list[str] = []
    if create is not None and missing:
        partitions = create.partitions or max(deployment.partitions.values(), default=1)
        room = {"max.message.bytes": largest} if largest > _DEFAULT_LIMIT else {}
        for name in missing:
            if deployment.looks_only:
                notes.append(would_create(name, partitions))
                continue
            config = {**room, **create.config}
            admin.create_topic(name, partitions, create.replication_factor, config)
            notes.append(f"created topic {name} with {partitions} partitions")
        if not deployment.looks_only:
            existing = wait_until_visible(admin, names)
    found = _look_at_topics(existing, admin, largest)
    return replace(found, notes=(*notes, *found.notes))


def would_create(topic: str, partitions: int) -> str:
    """The note on a topic that a start would create."""
    return f"topic {topic} would be created with {partitions} partition{'s' * (partitions != 1)}"


def _look_at_topics(existing: Mapping[str, int], admin: Admin, largest: int) -> Preflight:
    """Look at the settings of topics that are written.

    Args:
        existing: Topic -> number of partitions.
        admin: Client to ask with.
        largest: Bytes of the largest record that should fit.
    """
    names = list(existing)
    settings = admin.settings_of(names)
    limits = {name: largest_record(settings[name]) for name in names}
    notes = [
        f"topic {name} is compacted: records without a key will be refused"
        for name in names
        if "compact" in settings[name].get("cleanup.policy", "")
    ]
    notes += [
        f"topic {name} takes records of {limit:,} bytes, the source's topics of {largest:,}: of a "
        f"larger one it gets a reference without the payload; raise its max.message.bytes"
        for name, limit in limits.items()
        if limit < largest
    ]
    return Preflight(partitions=existing, size_limits=limits, notes=tuple(notes))


def check_patterns(settings: KafkaSinkSettings, deployment: Deployment) -> Preflight:
    """Look at the topics that exist already and fit the sink's patterns.

    A missing right is no error here: no record may ever name that topic.

    Returns:
        The size limits of these topics, by which the producer is made.

    Raises:
        KafkaEtlError: No broker answers.
    """
    admin = _admin(deployment)
    fitting = sorted(filter(settings.fits, admin.all_topics()))
    notes = [
        f"the source reads topic {name}, which fits the sink's routes: a record that names it "
        "becomes a dead letter"
        for name in fitting
        if name in deployment.partitions
    ]
    written = [name for name in fitting if name not in deployment.partitions]
    limits = {name: largest_record(found) for name, found in admin.settings_of(written).items()}
    if settings.create is not None:  # the pattern stands for all topics that are to be created
        limits |= dict.fromkeys(settings.patterns, largest_record(settings.create.config))
    return Preflight(size_limits=limits, notes=tuple(notes))


def check_producer(deployment: Deployment) -> None:
    """Check that the client takes the settings of a worker's producer.

    Raises:
        KafkaRefused: The client does not take the settings.
    """
    make_client(Producer, _offline(producer_settings(deployment)))


def _try_consumer(config: Mapping[str, Any], settings: KafkaSourceSettings) -> None:
    """Check that the client takes the topics, and the settings of a worker's consumer."""
    consumer = make_client(Consumer, config)
    try:
        enter(consumer, settings.topics)
    finally:
        consumer.close()


def _offline(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings without brokers, for a client that only checks its settings."""
    return {name: value for name, value in settings.items() if name != "bootstrap.servers"}


def _admin(deployment: Deployment) -> Admin:
    return connect(frozenset(admin_settings(deployment).items()))


def largest_record(settings: Mapping[str, object]) -> int:
    """Bytes of the largest record that a topic takes."""
    return int(str(settings.get("max.message.bytes", _DEFAULT_LIMIT)))


def _source_topics(settings: KafkaSourceSettings, admin: Admin) -> dict[str, int]:
    """Topic of the source -> its number of partitions."""
    if settings.pattern is not None:
        matching = list(filter(settings.reads, admin.all_topics()))
        if not matching:
            raise TopicMissing(f"no topic matches {settings.pattern}", _CREATE_OR_CORRECT)
        return admin.topics(matching, "READ")
    found = admin.topics(settings.topics, "READ")
    missing = [name for name in settings.topics if name not in found]
    if missing:
        raise TopicMissing(
            f"source topic {listed(missing)} does not exist",
            _question(missing[0], admin) + _CREATE_OR_CORRECT.replace("NAME", missing[0]),
        )
    return found


def nearest(name: str, admin: Admin) -> str:
    """The topic with the most similar name; empty: no name is similar."""
    return next(iter(get_close_matches(name, admin.all_topics(), n=1, cutoff=0.6)), "")


def _question(name: str, admin: Admin) -> str:
    near = nearest(name, admin)
    return f"Did you mean {near}? " if near else ""


def _apply_start(
    settings: KafkaSourceSettings,
    admin: Admin,
    group: str,
    partitions: Sequence[Partition],
    committed: dict[Partition, int],
) -> tuple[str, ...]:
    """Commit the first offsets of topics in which the group has no committed offset at all.

    A partition that is added later is read from its first offset, also under `latest`: all its
    records are newer than the start.

    Returns:
        Notes for the user.
    """
    fresh, ignored = _fresh(settings, group, partitions, committed)
    if not fresh:
        return ignored
    begins = _begins(settings.start, admin, fresh)
    if not admin.commit(group, begins):
        return ignored  # a member has joined after its own preflight
    committed.update(begins)
    return (f"group {group} begins in {_topics_of(fresh)} at {settings.start}", *ignored)


def _look_at_start(
    settings: KafkaSourceSettings,
    _admin: Admin,
    group: str,
    partitions: Sequence[Partition],
    committed: Mapping[Partition, int],
) -> tuple[str, ...]:
    """Tell what `_apply_start` would do."""
    fresh, ignored = _fresh(settings, group, partitions, committed)
    if not fresh:
        return ignored
    return (f"group {group} would begin in {_topics_of(fresh)} at {settings.start}", *ignored)


def _fresh(
    settings: KafkaSourceSettings,
    group: str,
    partitions: Sequence[Partition],
    committed: Mapping[Partition, int],
) -> tuple[list[Partition], tuple[str, ...]]:
    """Partitions of topics without any committed offset, and notes about the other topics."""
    known = {tp.topic for tp in committed}
    fresh = [tp for tp in partitions if tp.topic not in known]
    return fresh, _ignored_start(settings, group, sorted(known))


def _topics_of(partitions: Iterable[Partition]) -> str:
    return listed(sorted({tp.topic for tp in partitions}))


def _ignored_start(
    settings: KafkaSourceSettings, group: str, topics: Sequence[str]
) -> tuple[str, ...]:
    """The note that `start` has no effect, because the group already has offsets."""
    if not topics or "start" not in settings.model_fields_set:
        return ()
    note = (
        f"group {group} has offsets in {listed(topics)} and goes on from there: `start: "
        f"{settings.start}` is for topics that are new to a group"
    )
    return (note,)


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


def wait_until_visible(admin: Admin, names: Sequence[str]) -> dict[str, int]:
    """Wait until the cluster tells the number of partitions of each topic.

    Raises:
        TopicNotCreated: A topic has not shown up within 15 s.
    """
    deadline = time.monotonic() + _VISIBLE_AFTER
    while True:
        existing = admin.topics(names, "WRITE")
        if all(existing.get(name) for name in names):
            return existing
        if time.monotonic() > deadline:
            raise TopicNotCreated(f"topic {listed(names)} was created but does not show up")
        time.sleep(0.1)
