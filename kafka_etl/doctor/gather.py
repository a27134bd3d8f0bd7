"""Gathers the facts that the checks judge: about this host, the cluster and a pipeline."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import CodecUse, Deployment, SinkPlugin, SinkSettings, Unreachable
from kafka_etl.doctor.facts import (
    ClusterFacts,
    Facts,
    GroupFacts,
    HostFacts,
    TargetFacts,
    TopicFacts,
    TopicNeeds,
    Use,
)
from kafka_etl.errors import BrokersUnreachable, KafkaEtlError, KafkaRefused, Problem
from kafka_etl.kafka.client.api_versions import ask_versions
from kafka_etl.kafka.client.settings import client_versions
from kafka_etl.kafka.cluster.acls import Grant, ask_grant
from kafka_etl.kafka.cluster.admin import Admin, reached
from kafka_etl.kafka.cluster.offsets import standings
from kafka_etl.kafka.preflight import nearest
from kafka_etl.kafka.settings import KafkaSinkSettings, KafkaSourceSettings
from kafka_etl.kafka.tasks.settings import TaskDeliverySettings, TaskInboxSettings
from kafka_etl.kafka.tasks.topics import DELIVERIES, INBOX, JOURNAL, LOGS, look_at_history
from kafka_etl.plugins import PluginRegistry
from kafka_etl.record import Partition
from kafka_etl.tasks.limits import AROUND_RESULT

_AWAY: Final = "start it, or correct its address; until then, records wait"


def facts_of_host(registry: PluginRegistry, state_folder: Path) -> Facts:
    """Gather what can be known without a cluster; creates the state folder, as a daemon does."""
    client, librdkafka = client_versions()
    broken = dict(_broken(registry))
    problem, free = _folder(state_folder)
    host = HostFacts(
        python=platform.python_version(),
        client=client,
        librdkafka=librdkafka,
        broken=broken,
        state_folder=str(state_folder),
        state_problem=problem,
        free_bytes=free,
    )
    return Facts(now_ms=round(time.time() * 1000), host=host)


def with_cluster(facts: Facts, settings: Mapping[str, Any]) -> tuple[Facts, Admin | None]:
    """Ask the cluster whether it answers, and for its brokers.

    Args:
        facts: Facts about the host.
        settings: Settings of admin clients.

    Returns:
        The facts, and a client for further questions; None: the cluster does not answer.
    """
    servers = str(settings.get("bootstrap.servers", ""))
    try:
        admin = reached(settings)
        brokers = admin.brokers()
    except KafkaEtlError as error:
        return replace(facts, cluster=ClusterFacts(servers, problem=error.problem)), None
    versions = ask_versions(settings)
    return replace(facts, cluster=ClusterFacts(servers, brokers, versions)), admin


def with_parts(facts: Facts, pipeline: Pipeline, registry: PluginRegistry) -> Facts:
    """Add what the plug-ins of a pipeline need and is not installed."""
    used = set(_used(pipeline))
    missing = {
        str(plugin): lacking.next_step
        for plugin in registry
        if (plugin.kind, plugin.name) in used and (lacking := registry.lacks(plugin)) is not None
    }
    return replace(facts, pipeline=pipeline.spec.name, host=replace(facts.host, missing=missing))


def with_topics(facts: Facts, pipeline: Pipeline, admin: Admin) -> Facts:
    """Add facts about the topics of a pipeline, and about its group if its source is Kafka.

    Raises:
        KafkaEtlError: The cluster does not answer any more.
    """
    source, sink = pipeline.source_settings, pipeline.sink_settings
    uses = _uses(pipeline, admin)
    described = admin.describe(uses)
    there = {name: found.partitions for name, found in described.items() if found.partitions}
    settings, needs = admin.settings_of(sorted(there)), _needs(source)
    newest = _newest(admin, there, uses)
    topics = [
        TopicFacts(
            name,
            frozenset(of_topic),
            _creates(pipeline, name, of_topic),
            **(described[name]._asdict() if name in described else {}),
            settings=settings.get(name, {}),
            newest_ms=newest.get(name),
            needs=needs.get(name, TopicNeeds()),
            nearest="" if name in there else nearest(name, admin),
        )
        for name, of_topic in uses.items()
    ]
    group = None
    if isinstance(source, KafkaSourceSettings):
        read = [topic for topic in topics if topic.name in source.topics or "source" in topic.uses]
        group = _group(admin, source.group or pipeline.spec.name, read)
    return replace(
        facts,
        atomic=isinstance(sink, KafkaSinkSettings),
        topics=tuple(topics),
        group=group,
    )


def with_rights(facts: Facts, settings: Mapping[str, Any], transactional_id: str) -> Facts:
    """Add what the ACLs of a cluster that answers tell about a transactional id.

    Args:
        facts: Facts about the pipeline.
        settings: Settings of admin clients.
        transactional_id: Id of the pipeline's first worker.
    """
    told = any(topic.rights is not None for topic in facts.topics)
    grant = ask_grant(settings, transactional_id) if told else Grant.UNKNOWN
    return replace(facts, transactional_id=transactional_id, grant=grant)


def with_history(facts: Facts, pipeline: Pipeline, admin: Admin) -> Facts:
    """Add whether the topics of tasks, if there are any, are those that the tasks began with."""
    settings = pipeline.source_settings
    if not isinstance(settings, TaskInboxSettings):
        return facts
    try:
        look_at_history(admin, {**pipeline.spec.kafka, **pipeline.spec.consumer}, settings)
    except KafkaEtlError as error:
        return replace(facts, history=error.problem)
    return facts


def with_targets(
    facts: Facts, pipeline: Pipeline, deployment: Deployment, letters: Deployment
) -> Facts:
    """Look at the targets outside of Kafka, whose sinks leave nothing there.

    Args:
        facts: Facts about the pipeline.
        pipeline: The pipeline.
        deployment: Where its workers would run.
        letters: Likewise, for the sink of dead letters.
    """
    targets: list[TargetFacts] = []
    spec = pipeline.spec
    if not _is_kafka(pipeline):
        name = f"outputs to {spec.sink.use}"
        targets.append(_target(name, pipeline.sink, pipeline.sink_settings, deployment))
    if pipeline.letters is not None and pipeline.letters_settings is not None:
        name = f"dead letters to {spec.dead_letter.use if spec.dead_letter else ''}"
        targets.append(_target(name, pipeline.letters, pipeline.letters_settings, letters))
    return replace(facts, targets=tuple(targets))


def _target(
    name: str, plugin: SinkPlugin[Any], settings: SinkSettings, deployment: Deployment
) -> TargetFacts:
    try:
        found = plugin.check(settings, replace(deployment, looks_only=True))
    except KafkaEtlError as error:
        return TargetFacts(name, error.problem)
    except Unreachable as error:
        return TargetFacts(name, Problem("", error.reason, _AWAY))
    except Exception as error:  # noqa: BLE001 - the plug-in may be anybody's
        said = f"its check failed: {type(error).__name__}: {error}"
        return TargetFacts(name, Problem("", said, "see what its author says about it"))
    return TargetFacts(name, notes=found.notes)


def _broken(registry: PluginRegistry) -> Iterator[tuple[str, str]]:
    for plugin in registry:
        try:
            registry.summary(plugin)
        except KafkaEtlError as error:
            yield str(plugin), error.what


def _folder(path: Path) -> tuple[str, int]:
    """Why a folder cannot be used, if so, and the free bytes of its disk."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path).free
    except OSError as error:
        return error.strerror or str(error), 0
    return ("" if os.access(path, os.W_OK | os.X_OK) else "this user may not write there"), free


def _used(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Kind and name of the plug-ins that a pipeline uses."""
    spec = pipeline.spec
    yield "sources", spec.source.use
    yield "sinks", spec.sink.use
    if spec.dead_letter is not None and spec.dead_letter.use is not None:
        yield "sinks", spec.dead_letter.use
    for settings in (pipeline.source_settings, pipeline.sink_settings):
        for part in ("value", "key"):
            codec: CodecUse | None = getattr(settings, part, None)
            use = getattr(codec, "use", None)
            if isinstance(use, str):
                yield "codecs", use


def _uses(pipeline: Pipeline, admin: Admin) -> dict[str, set[Use]]:
    """Topic -> what the pipeline does with it."""
    uses: dict[str, set[Use]] = {}
    source = pipeline.source_settings
    if isinstance(source, KafkaSourceSettings):
        names = source.topics
        if source.pattern is not None:
            names = tuple(filter(source.reads, admin.all_topics()))
        for name in names:
            uses.setdefault(name, set()).add(_use_of_source(source))
    if isinstance(source, TaskInboxSettings):
        for name, use in _uses_of_owner(source):
            uses.setdefault(name, set()).add(use)
    for name in pipeline.sink_settings.topics if _is_kafka(pipeline) else ():
        uses.setdefault(name, set()).add("sink")
    if pipeline.dead_letter_topic is not None:
        uses.setdefault(pipeline.dead_letter_topic, set()).add("dead letters")
    return uses


def _uses_of_owner(source: TaskInboxSettings) -> Iterator[tuple[str, Use]]:
    """Topics of an owner beside its inbox, with what it does with them."""
    yield source.journal, "journal"
    for place in source.outside:
        yield place.topic, "deliveries"
    for results in source.results:
        for topic in results.topics:
            yield topic, "sink"
    for letters in source.letters:
        yield letters.topic, "dead letters"
    if source.logs:
        yield source.logs_topic, "logs"


def _use_of_source(source: KafkaSourceSettings) -> Use:
    if isinstance(source, TaskInboxSettings):
        return "inbox"
    return "deliveries" if isinstance(source, TaskDeliverySettings) else "source"


def _needs(source: object) -> dict[str, TopicNeeds]:
    """Topic of tasks -> what the pipeline needs of it."""
    if isinstance(source, TaskDeliverySettings):
        keeps = int(source.config.get("retention.ms", 0))
        need = TopicNeeds(source.partitions, DELIVERIES, keeps)
        return dict.fromkeys(source.topics, need)
    if not isinstance(source, TaskInboxSettings):
        return {}
    count, keeps = source.partitions, int(source.inbox_config.get("retention.ms", 0))
    return {
        source.inbox: TopicNeeds(count, INBOX, keeps, source.max_result + AROUND_RESULT),
        source.journal: TopicNeeds(count, JOURNAL),
        **{place.topic: TopicNeeds(count, DELIVERIES, keeps) for place in source.outside},
        source.logs_topic: TopicNeeds(settings={"cleanup.policy": LOGS["cleanup.policy"]}),
    }


def _is_kafka(pipeline: Pipeline) -> bool:
    return isinstance(pipeline.sink_settings, KafkaSinkSettings)


def _creates(pipeline: Pipeline, topic: str, uses: set[Use]) -> bool:
    """Whether the pipeline creates a topic of these uses if it is missing."""
    letters, sink = pipeline.spec.dead_letter, pipeline.sink_settings
    source = pipeline.source_settings
    if "source" in uses:
        return False
    if isinstance(source, TaskInboxSettings):
        results = {name for place in source.results if place.create for name in place.topics}
        if topic in results | {place.topic for place in source.letters if place.create}:
            return True
    if uses & {"inbox", "journal", "deliveries", "logs"}:
        return True
    if "dead letters" in uses:
        return letters is not None and bool(letters.create)
    return isinstance(sink, KafkaSinkSettings) and sink.create is not None


def _newest(
    admin: Admin, partitions: Mapping[str, int], uses: Mapping[str, set[Use]]
) -> dict[str, int]:
    """Topic of the source -> time of its newest record."""
    wanted = [
        Partition(name, number)
        for name, count in partitions.items()
        if uses[name] & {"source", "inbox"}
        for number in range(count)
    ]
    found: dict[str, int] = {}
    with suppress(KafkaRefused, BrokersUnreachable):  # brokers before 3.0 do not know the question
        for partition, at in admin.newest(wanted).items():
            found[partition.topic] = max(at, found.get(partition.topic, 0))
    return found


def _group(admin: Admin, name: str, topics: list[TopicFacts]) -> GroupFacts:
    described = admin.describe_group(name)
    source = [Partition(topic.name, n) for topic in topics for n in range(topic.partitions)]
    readable = source if described.rights is None or "READ" in described.rights else []
    found = standings(admin, name, readable, []) if readable else []
    placed = [(at, at.committed.offset) for at in found if at.committed is not None]
    return GroupFacts(
        name,
        "" if described.state == "dead" else described.state,
        described.assignor,
        tuple(f"{member.client} on {member.host.lstrip('/')}" for member in described.members),
        described.rights,
        deleted=sum(max(0, at.begin - offset) for at, offset in placed),
        beyond=sum(offset > at.end for at, offset in placed),
    )
