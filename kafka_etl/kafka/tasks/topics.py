"""Preflight of an owner of tasks: its topics, made if they are missing, and as they must be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from kafka_etl.contracts import Deployment, Preflight
from kafka_etl.errors import TaskHistoryLost, TaskTopicsUnfit
from kafka_etl.kafka.client.settings import admin_settings
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.preflight import (
    check_patterns,
    check_source,
    check_topics,
    wait_until_visible,
    would_create,
)
from kafka_etl.kafka.tasks.meta import read_meta, write_meta
from kafka_etl.kafka.tasks.settings import TaskDeliverySettings, TaskInboxSettings
from kafka_etl.record import Partition
from kafka_etl.tasks.journal import Meta
from kafka_etl.tasks.limits import AROUND_RESULT
from kafka_etl.tasks.log_records import PARTITIONS

INBOX: Final[Mapping[str, str]] = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
}
LOGS: Final[Mapping[str, str]] = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "CreateTime",
}
JOURNAL: Final[Mapping[str, str]] = {"cleanup.policy": "compact"}
DELIVERIES: Final[Mapping[str, str]] = {"cleanup.policy": "delete"}
"""Settings that a topic must have; with others the inbox forgets words, or the journal states."""


def check_tasks(settings: TaskInboxSettings, deployment: Deployment) -> Preflight:
    """Make or check inbox and journal, then check the inbox as any source.

    With `looks_only` what is missing is not made, but named in notes.

    Raises:
        TaskTopicsUnfit: A topic has another number of partitions, or other settings.
        TaskHistoryLost: A topic is gone, or was made anew, while the other one was in use.
        KafkaEtlError: A right is missing, or no broker answers.
    """
    found = _check_own(settings, deployment)
    for written in _written(settings, deployment):
        found = replace(
            found,
            partitions={**found.partitions, **written.partitions},
            size_limits={**found.size_limits, **written.size_limits},
            notes=found.notes + written.notes,
        )
    return found


def _check_own(settings: TaskInboxSettings, deployment: Deployment) -> Preflight:
    """Make or check the topics that belong to the tasks alone; raises as `check_tasks`."""
    admin = Admin(admin_settings(deployment))
    admin.reach()
    names = {
        settings.inbox: {**INBOX, **settings.inbox_config},
        settings.journal: {**JOURNAL, **settings.journal_config},
    }
    there = admin.topics(names, "WRITE")
    if settings.journal not in there:
        _require_unused(admin, settings, there.get(settings.inbox, 0))
    if deployment.looks_only and len(there) < len(names):
        missing = (name for name in names if name not in there)
        return Preflight(notes=_would_create(missing, settings.partitions))
    for name, config in names.items():
        if name not in there:
            admin.create_topic(name, settings.partitions, settings.replication, config)
    counts = wait_until_visible(admin, list(names))
    configs = admin.settings_of(list(there))
    reader = {**deployment.kafka, **deployment.consumer}
    meta = read_meta(admin, reader, settings.journal)
    if meta is not None:
        check_meta(settings, counts, admin.topic_ids, meta)
    _check(settings.inbox, counts, configs, INBOX, settings.partitions)
    _check(settings.journal, counts, configs, JOURNAL, settings.partitions)
    if meta is None and not deployment.looks_only:
        writer = {**deployment.kafka, **deployment.producer}
        write_meta(writer, settings, admin.topic_ids)
    made = [place.topic for place in settings.outside]
    would: tuple[str, ...] = ()
    if made:
        would = _make_deliveries(made, settings.inbox_config, settings, deployment)
    if settings.logs and not deployment.looks_only:
        counts |= _check_logs(admin, settings)
    found = check_source(settings, deployment)
    notes = (*found.notes, *would, *notes_on_results(settings, found.largest_record))
    ids = {settings.journal: admin.topic_ids.get(settings.journal, "")}
    return replace(
        found,
        notes=notes,
        partitions={**found.partitions, **counts},
        topic_ids={**found.topic_ids, **ids},
    )


def look_at_history(admin: Admin, reader: Mapping[str, Any], settings: TaskInboxSettings) -> None:
    """Check inbox and journal against what they were when the tasks began; makes nothing.

    Args:
        admin: Client of a cluster that answers.
        reader: Settings of a consumer.
        settings: Settings of the owner.

    Raises:
        TaskTopicsUnfit: They have, or the settings say, another number of partitions or order.
        TaskHistoryLost: A topic is gone, or was made anew, while the other one was in use.
        KafkaEtlError: A right is missing, or no broker answers.
    """
    there = admin.topics([settings.inbox, settings.journal], "READ")
    if settings.journal not in there:
        _require_unused(admin, settings, there.get(settings.inbox, 0))
        return
    meta = read_meta(admin, reader, settings.journal)
    if meta is not None and settings.inbox in there:
        check_meta(settings, there, admin.topic_ids, meta)
    elif meta is not None and meta.inbox:
        raise TaskHistoryLost(
            f"topic {settings.inbox} is gone, and {settings.journal} knows of tasks whose inputs "
            "were there"
        )


def notes_on_results(settings: TaskInboxSettings, limit: int) -> list[str]:
    """What is to be said about results that the inbox does not take.

    Args:
        settings: Settings of the owner.
        limit: Bytes of the largest record that the inbox takes.
    """
    needed = settings.max_result + AROUND_RESULT
    if needed <= limit:
        return []
    said = (
        f"topic {settings.inbox} takes records of {limit:,} bytes, and a result may have "
        f"{settings.max_result:,}: set its max.message.bytes to {needed:,}, or `max_result` of the "
        f"operator to {max(0, limit - AROUND_RESULT):,}"
    )
    return [said]


def check_deliveries(settings: TaskDeliverySettings, deployment: Deployment) -> Preflight:
    """Make or check the topic of deliveries, then check the topic as any source.

    Raises: as `check_tasks`.
    """
    would = _make_deliveries(settings.topics, settings.config, settings, deployment)
    return Preflight(notes=would) if would else check_source(settings, deployment)


def _written(settings: TaskInboxSettings, deployment: Deployment) -> Iterator[Preflight]:
    """Check the topics of results and of failures that the sink does not know of."""
    for place in settings.results:
        yield check_topics(place.topics, place.create, deployment)
        if place.patterns:
            yield replace(check_patterns(place, deployment), partitions={})
    for letters in settings.letters:
        yield check_topics([letters.topic], letters.create or None, deployment)


def _make_deliveries(
    names: Iterable[str],
    config: Mapping[str, str],
    settings: TaskInboxSettings | TaskDeliverySettings,
    deployment: Deployment,
) -> tuple[str, ...]:
    """Make or check topics of what is on its way, with as many partitions as the inbox.

    Returns:
        With `looks_only`, notes on the topics that would be made.

    Raises: as `check_tasks`.
    """
    admin = Admin(admin_settings(deployment))
    admin.reach()
    wanted = list(names)
    there = admin.topics(wanted, "WRITE")
    missing = [name for name in wanted if name not in there]
    if deployment.looks_only and missing:
        return _would_create(missing, settings.partitions)
    for name in missing:
        admin.create_topic(name, settings.partitions, settings.replication, config)
    counts = wait_until_visible(admin, wanted)
    configs = admin.settings_of(list(there))
    for name in wanted:
        _check(name, counts, configs, DELIVERIES, settings.partitions)
    return ()


def _would_create(names: Iterable[str], partitions: int) -> tuple[str, ...]:
    return tuple(would_create(name, partitions) for name in names)


def _check_logs(admin: Admin, settings: TaskInboxSettings) -> Mapping[str, int]:
    """Make or check the topic of logs; other pipelines may have made it, with other settings."""
    topic = settings.logs_topic
    is_there = bool(admin.topics([topic], "WRITE"))
    if not is_there:
        config = {**LOGS, **settings.logs_config}
        admin.create_topic(topic, PARTITIONS, settings.replication, config)
    counts = wait_until_visible(admin, [topic])
    found = admin.settings_of([topic]).get(topic, {}).get("cleanup.policy", "delete")
    if is_there and "compact" in found:
        raise TaskTopicsUnfit(
            f"topic {topic} has cleanup.policy={found}, which would keep one piece of each log",
            "Set its cleanup.policy to delete, or name another topic in `history.topic`.",
        )
    return counts


def _require_unused(admin: Admin, settings: TaskInboxSettings, partitions: int) -> None:
    """A journal that is missing is made, unless an owner has written one before."""
    group = settings.group or ""
    inbox = [Partition(settings.inbox, number) for number in range(partitions)]
    read = admin.committed(group, inbox) if inbox else {}
    if any(at.offset > 0 for at in read.values()):
        raise TaskHistoryLost(
            f"topic {settings.journal} is gone, and group {group} has read words from "
            f"{settings.inbox}: nobody knows any more what became of those tasks"
        )


def check_meta(
    settings: TaskInboxSettings, counts: Mapping[str, int], ids: Mapping[str, str], meta: Meta
) -> None:
    """Check the topics, and the settings, against what they were when the topics were made.

    Raises: as `check_tasks`.
    """
    for topic, made in ((settings.inbox, meta.inbox), (settings.journal, meta.journal)):
        if made and ids.get(topic) and ids[topic] != made:
            raise TaskHistoryLost(
                f"topic {topic} is not the one that {settings.journal} was begun with: it was "
                f"deleted and made anew, or copied (its id is {ids[topic]}, and was {made})"
            )
        if counts[topic] != meta.partitions:
            raise TaskTopicsUnfit(
                f"topic {topic} has {counts[topic]} partitions, and was made with "
                f"{meta.partitions}: tasks are found by that number, which is fixed for life",
                "Kafka takes no partition away again: run the tasks under another name, with as "
                "many partitions as there should be.",
            )
    if settings.partitions != meta.partitions:
        raise TaskTopicsUnfit(
            f"the pipeline wants {settings.partitions} partitions, and {settings.inbox} and "
            f"{settings.journal} were made with {meta.partitions}, which is fixed for life",
            f"Set `topics.partitions: {meta.partitions}`.",
        )
    if settings.order != meta.order:
        raise TaskTopicsUnfit(
            f"the pipeline has `order: {settings.order}`, and {settings.journal} was begun with "
            f"`order: {meta.order}`, which is fixed for life: the tasks that are known would not "
            "be found where their ids, or their keys, say from now on",
            f"Set `order: {meta.order}`; or run the tasks under another name.",
        )


def _check(
    topic: str,
    counts: Mapping[str, int],
    configs: Mapping[str, Mapping[str, str]],
    wanted: Mapping[str, str],
    partitions: int,
) -> None:
    if counts.get(topic) != partitions:
        raise TaskTopicsUnfit(
            f"topic {topic} has {counts.get(topic, 0)} partitions, and the pipeline wants "
            f"{partitions}: a task would not be found where it is",
            "Set `topics.partitions` to the number that the topic has.",
        )
    for name, value in wanted.items():
        found = configs.get(topic, {}).get(name, value)  # a topic whose settings nobody may read
        if found != value:
            raise TaskTopicsUnfit(f"topic {topic} has {name}={found}, and must have {value}")
