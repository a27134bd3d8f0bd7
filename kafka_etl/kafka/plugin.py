"""The plug-ins of the Kafka source and the Kafka sink.

The daemon imports this module, so the Kafka client is imported only when a plug-in is built or
checked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kafka_etl.contracts import (
    Accounts,
    ClientSettings,
    Deployment,
    Guarantee,
    Label,
    Preflight,
    Pulse,
    Sink,
    SinkPlugin,
    Source,
    SourcePlugin,
)
from kafka_etl.kafka.settings import KafkaSinkSettings, KafkaSourceSettings, ReplaySettings
from kafka_etl.kafka.tasks.settings import TaskDeliverySettings, TaskInboxSettings


def _build_source(settings: KafkaSourceSettings, deployment: Deployment, pulse: Pulse) -> Source:
    from kafka_etl.kafka.source.source import KafkaSource

    return KafkaSource(settings, deployment, pulse)


def _build_replay(settings: ReplaySettings, deployment: Deployment, pulse: Pulse) -> Source:
    from kafka_etl.kafka.replay.source import ReplaySource

    return ReplaySource(settings, deployment, pulse)


def _check_replay(settings: ReplaySettings, deployment: Deployment) -> Preflight:
    from kafka_etl.kafka.replay.source import check_replay

    return check_replay(settings, deployment)


def _replay_accounts(settings: ReplaySettings, reader: ClientSettings) -> Accounts:
    from kafka_etl.kafka.replay.accounts import ReplayAccounts

    return ReplayAccounts(settings, reader)


def _build_inbox(settings: TaskInboxSettings, deployment: Deployment, pulse: Pulse) -> Source:
    from kafka_etl.kafka.source.source import KafkaSource

    return KafkaSource(settings, deployment, pulse)


def _check_inbox(settings: TaskInboxSettings, deployment: Deployment) -> Preflight:
    from kafka_etl.kafka.tasks.topics import check_tasks

    return check_tasks(settings, deployment)


def _check_deliveries(settings: TaskDeliverySettings, deployment: Deployment) -> Preflight:
    from kafka_etl.kafka.tasks.topics import check_deliveries

    return check_deliveries(settings, deployment)


def _build_sink(settings: KafkaSinkSettings, deployment: Deployment) -> Sink:
    from kafka_etl.kafka.sink.sink import KafkaSink

    return KafkaSink(settings.topic, deployment)


def _check_source(settings: KafkaSourceSettings, deployment: Deployment) -> Preflight:
    from kafka_etl.kafka.preflight import check_source

    return check_source(settings, deployment)


def _check_sink(settings: KafkaSinkSettings, deployment: Deployment) -> Preflight:
    from kafka_etl.kafka.preflight import check_patterns, check_topics

    found = check_topics(settings.topics, settings.create, deployment)
    if not settings.patterns:
        return found
    fitting = check_patterns(settings, deployment)
    return replace(
        found,
        size_limits={**found.size_limits, **fitting.size_limits},
        notes=found.notes + fitting.notes,
    )


SOURCE: Final = SourcePlugin(
    settings=KafkaSourceSettings,
    build=_build_source,
    check=_check_source,
    summary="topics of a Kafka cluster, read by a consumer group",
)
REPLAY: Final = SourcePlugin(
    settings=ReplaySettings,
    build=_build_replay,
    check=_check_replay,
    summary="dead letters that `dlq replay` replays; not for pipeline files",
    accounts=_replay_accounts,
)
INBOX: Final = SourcePlugin(
    settings=TaskInboxSettings,
    build=_build_inbox,
    check=_check_inbox,
    summary="words for tasks, read by their owner; not for pipeline files",
)
DELIVERIES: Final = SourcePlugin(
    settings=TaskDeliverySettings,
    build=_build_source,
    check=_check_deliveries,
    summary="outcomes of tasks on their way to a destination; not for pipeline files",
)
SINK: Final = SinkPlugin(
    settings=KafkaSinkSettings,
    label=lambda _settings: Label(
        Guarantee.EXACTLY_ONCE, "outputs and offsets in one Kafka transaction"
    ),
    build=_build_sink,
    check=_check_sink,
    summary="topics of the pipeline's own cluster, in one transaction with the offsets",
    letters="topic",
)
