"""Puts an owner together: its log in Kafka, the keeper of its host, and its rules."""

from __future__ import annotations

import random
from pathlib import Path
from time import time_ns

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Deployment
from kafka_etl.engine.tasks.executors import Executors, LocalKeeper
from kafka_etl.engine.tasks.owner import OwnerSink
from kafka_etl.kafka.head_tail import KafkaHeadTail
from kafka_etl.kafka.log_relay import LogRelay
from kafka_etl.kafka.settings import KafkaSinkSettings
from kafka_etl.kafka.task_log import KafkaTaskLog
from kafka_etl.kafka.task_settings import TaskInboxSettings
from kafka_etl.kafka.word_relay import WordRelay
from kafka_etl.metrics import Counters
from kafka_etl.runtime.tasks.link import KeeperSocket
from kafka_etl.runtime.tasks.place import socket_of


def make_owner(
    pipeline: Pipeline,
    settings: TaskInboxSettings,
    deployment: Deployment,
    folder: Path,
    counters: Counters,
) -> OwnerSink:
    """Make the sink of a worker that owns tasks.

    Args:
        pipeline: The pipeline.
        settings: Settings of its source.
        deployment: The worker's deployment.
        folder: State folder of the daemon.
        counters: The worker's counters.
    """
    sink = pipeline.sink_settings
    if not isinstance(sink, KafkaSinkSettings):
        raise TypeError("results go to Kafka")
    clients = {**deployment.kafka, **deployment.producer}
    relay, topic = WordRelay(clients, settings.inbox), settings.logs_topic
    tail = KafkaHeadTail({**deployment.kafka, **deployment.consumer}, settings.journal)
    logs = LogRelay(clients, topic, deployment.partitions[topic]) if settings.logs else None
    socket = KeeperSocket(socket_of(folder, pipeline.spec.name))
    keeper = LocalKeeper(socket, relay, tail, logs)
    return OwnerSink(
        KafkaTaskLog(settings, sink.topic, deployment),
        keeper,
        Executors(keeper, relay, settings.lost_after_ms / 1000),
        settings.policy,
        deployment.member,
        settings.operator,
        lambda: time_ns() // 1_000_000,
        random.random,
        counters,
    )
