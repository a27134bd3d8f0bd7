"""The deployment of a worker: its ids, its client settings, and what preflight has found."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import replace
from functools import cache
from importlib.metadata import version

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Deployment, Preflight, Pulse
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.client.allowed_settings import MAX_POLL, poll_interval
from kafka_etl.kafka.settings import ReplaySettings
from kafka_etl.kafka.tasks.settings import TaskDeliverySettings
from kafka_etl.table_settings import TableSettings


def deployment_of(
    pipeline: Pipeline,
    member: str,
    preflight: Preflight,
    stdout: int = 1,
    pulse: Pulse | None = None,
) -> Deployment:
    """Make the deployment of a worker: its ids, client settings, and the results of preflight.

    Args:
        pipeline: The worker's pipeline.
        member: Member id in the group, and transactional id.
        preflight: Results of preflight; empty while preflight itself runs.
        stdout: Descriptor of the real standard output.
        pulse: Called several times a second while a sink of the framework's own waits; None: no
            sink is made.
    """
    spec = pipeline.spec
    timeouts = [operator.timeout or 0.0 for operator in pipeline.operators]
    letters = spec.dead_letter
    make_accounts = pipeline.source.accounts
    return Deployment(
        pipeline=spec.name,
        member=member,
        kafka=spec.kafka,
        consumer={MAX_POLL: poll_interval(timeouts), **spec.consumer},
        producer=spec.producer,
        provenance=Provenance(
            pipeline=spec.name,
            config_hash=pipeline.config_hash,
            group=group_of(pipeline),
            worker=member,
            host=socket.gethostname(),
            pid=os.getpid(),
            kafka_etl=_release(),
            python=platform.python_version(),
            versions={operator.name: operator.version for operator in pipeline.operators},
        ),
        dead_letter_topic=letters.topic if letters else None,
        letter_format=letters.written_as if letters else "raw",
        letter_table=_letter_table(pipeline),
        size_limits=preflight.size_limits,
        partitions=preflight.partitions,
        group=group_of(pipeline),
        replay=_replay_of(pipeline),
        cluster=preflight.cluster,
        topic_ids=preflight.topic_ids,
        columns=preflight.columns,
        folder=pipeline.folder,
        stdout=stdout,
        accounts=(
            make_accounts(pipeline.source_settings, {**spec.kafka, **spec.consumer})
            if make_accounts
            else None
        ),
        pulse=pulse or (lambda _reason: None),
    )


@cache
def _release() -> str:
    """The installed release; reading it takes a millisecond, and tests make many deployments."""
    return version("kafka-etl")


def delivers_notices(pipeline: Pipeline) -> bool:
    """Whether what the sink gets are tasks that have failed, as dead letters."""
    settings = pipeline.source_settings
    return isinstance(settings, TaskDeliverySettings) and settings.notices


def _letter_table(pipeline: Pipeline) -> str | None:
    """The store's table of dead letters; None: they go elsewhere."""
    letters, settings = pipeline.spec.dead_letter, pipeline.sink_settings
    if delivers_notices(pipeline) and isinstance(settings, TableSettings):
        return settings.table
    return letters.table if letters else None


def group_of(pipeline: Pipeline) -> str:
    """Return the consumer group of a pipeline."""
    return str(getattr(pipeline.source_settings, "group", None) or pipeline.spec.name)


def _replay_of(pipeline: Pipeline) -> str:
    settings = pipeline.source_settings
    return settings.action if isinstance(settings, ReplaySettings) else ""


def letter_deployment(pipeline: Pipeline, deployment: Deployment) -> Deployment:
    """Return the deployment for the sink of dead letters: in a store they are not rows."""
    settings = pipeline.letters_settings
    table = settings.table if isinstance(settings, TableSettings) else None
    return replace(deployment, letter_table=table, columns=())
