"""Preflight of an owner of tasks: its topics, made if they are missing, and as they must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kafka_etl.contracts import Deployment, Preflight
from kafka_etl.errors import TaskTopicsUnfit
from kafka_etl.kafka.admin import Admin
from kafka_etl.kafka.client_settings import admin_settings
from kafka_etl.kafka.preflight import check_source, wait_until_visible
from kafka_etl.kafka.task_settings import TaskInboxSettings
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
"""Settings that a topic must have; with others the inbox forgets words, or the journal states."""


def check_tasks(settings: TaskInboxSettings, deployment: Deployment) -> Preflight:
    """Make or check inbox and journal, then check the inbox as any source.

    Raises:
        TaskTopicsUnfit: A topic has another number of partitions, or other settings.
        KafkaEtlError: A right is missing, or no broker answers.
    """
    admin = Admin(admin_settings(deployment))
    admin.reach()
    names = {
        settings.inbox: {**INBOX, **settings.inbox_config},
        settings.journal: {**JOURNAL, **settings.journal_config},
    }
    there = admin.topics(names, "WRITE")
    for name, config in names.items():
        if name not in there:
            admin.create_topic(name, settings.partitions, settings.replication, config)
    counts = wait_until_visible(admin, list(names))
    configs = admin.settings_of(list(there))
    _check(settings.inbox, counts, configs, INBOX, settings.partitions)
    _check(settings.journal, counts, configs, JOURNAL, settings.partitions)
    if settings.logs:
        counts |= _check_logs(admin, settings)
    found = check_source(settings, deployment)
    return replace(found, partitions={**found.partitions, **counts})


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
