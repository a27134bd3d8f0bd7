"""Puts an owner together: its log in Kafka, the keeper of its host, and its rules."""

from __future__ import annotations

import random
from pathlib import Path

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Deployment
from kafka_etl.engine.tasks.archive import Archives
from kafka_etl.engine.tasks.deliveries import Destinations, Letters, Outside
from kafka_etl.engine.tasks.executors import Executors, LocalKeeper
from kafka_etl.engine.tasks.offers import OwnOffers
from kafka_etl.engine.tasks.owner import OwnerSink
from kafka_etl.engine.tasks.takeover import TakeOver
from kafka_etl.kafka.client.broker_clock import BrokerClock
from kafka_etl.kafka.settings import KafkaSinkSettings
from kafka_etl.kafka.tasks.head_tail import KafkaHeadTail
from kafka_etl.kafka.tasks.log import KafkaTaskLog
from kafka_etl.kafka.tasks.log_relay import LogRelay
from kafka_etl.kafka.tasks.open_tasks import OwnersNotes
from kafka_etl.kafka.tasks.settings import TaskInboxSettings
from kafka_etl.kafka.tasks.word_relay import WordRelay
from kafka_etl.metrics import Counters
from kafka_etl.runtime.tasks.link import KeeperSocket
from kafka_etl.runtime.tasks.place import archives_of, socket_of
from kafka_etl.runtime.tasks.relaying import RelayingLink
from kafka_etl.tasks.limits import AROUND_RESULT


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
    clock, topic = BrokerClock(), settings.logs_topic
    relay = WordRelay(clients, settings.inbox, clock, settings.max_result + AROUND_RESULT)
    relay.ask_the_time()  # before a task is judged by its age
    readers = {**deployment.kafka, **deployment.consumer}
    tail = KafkaHeadTail(readers, settings.journal)
    logs = LogRelay(clients, topic, deployment.partitions[topic]) if settings.logs else None
    link = RelayingLink(KeeperSocket(socket_of(folder, pipeline.spec.name)), relay, logs)
    ahead = settings.idempotent and settings.pool == "warm"
    notes = OwnersNotes(readers, settings.inbox, settings.group or pipeline.spec.name)
    keeper = LocalKeeper(link, tail, OwnOffers(notes.waiting), ahead=ahead)
    log = KafkaTaskLog(settings, sink.topic, deployment)
    archives = Archives(archives_of(folder, deployment.member), log.identity, clock.now_ms)
    return OwnerSink(
        log,
        TakeOver(log, archives, settings.policy, settings.partitions, clock.now_ms),
        keeper,
        Executors(keeper, relay, settings.lost_after_ms / 1000),
        settings.policy,
        _places(settings),
        deployment.member,
        settings.operator,
        clock.now_ms,
        random.random,
        counters,
    )


def _places(settings: TaskInboxSettings) -> Destinations:
    return Destinations(
        letters=[Letters(one.topic, one.when) for one in settings.letters],
        outside=[Outside(one.name, one.topic, one.has_input) for one in settings.outside],
        has_results=settings.has_results,
    )
