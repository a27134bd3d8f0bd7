"""Preflight: checks a pipeline against its cluster before a worker joins the group."""

from __future__ import annotations

from dataclasses import replace

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Label, Preflight, Pulse
from kafka_etl.errors import SinkFailed
from kafka_etl.kafka.admin import connections
from kafka_etl.kafka.preflight import check_producer, check_topics
from kafka_etl.runtime.messages import Checked
from kafka_etl.runtime.worker.assemble import make_letter_door
from kafka_etl.runtime.worker.deployments import (
    delivers_notices,
    deployment_of,
    letter_deployment,
)
from kafka_etl.runtime.worker.patience import until_reached
from kafka_etl.runtime.worker.store_offsets import prepare


def check(pipeline: Pipeline, member: str, waiting: Pulse) -> Checked:
    """Check source, sink and place of dead letters, and create the topics that are missing.

    Args:
        pipeline: The pipeline to check.
        member: Member id under which the check connects.
        waiting: Called with the obstacle while the check waits for brokers, or for a store.

    Raises:
        KafkaEtlError: The first problem found.
    """
    deployment = deployment_of(pipeline, member, Preflight())
    # The first check needs no broker; the check below adds the brokers' size limits.
    check_producer(deployment)
    with connections(waiting):
        found = pipeline.source.check(pipeline.source_settings, deployment)
        deployment = replace(
            deployment,
            partitions=found.partitions,
            cluster=found.cluster,
            topic_ids=found.topic_ids,
        )
        place = deployment
        checked = until_reached(lambda: pipeline.sink.check(pipeline.sink_settings, place), waiting)
        if delivers_notices(pipeline):
            checked = replace(checked, columns=(), label=None)
        found = _both(found, checked)
        letters = pipeline.spec.dead_letter
        if letters is not None and letters.topic is not None:
            create, largest = letters.create or None, found.largest_record
            written = check_topics([letters.topic], create, deployment, largest=largest)
            found = _both(found, written)
        if letters is not None and letters.hook_topics:
            told = check_topics(letters.hook_topics, letters.create or None, deployment)
            found = replace(found, notes=found.notes + told.notes)
        letter_sink = pipeline.letters
        if letter_sink is not None:
            make_letter_door(letter_sink, pipeline, place)
            apart = letter_deployment(pipeline, place)
            checked = until_reached(
                lambda: letter_sink.check(pipeline.letters_settings, apart), waiting
            )
            found = _both(found, replace(checked, columns=(), label=None))
    check_producer(replace(deployment, size_limits=found.size_limits))
    deployment = replace(deployment, columns=found.columns)
    found = prepare(pipeline, deployment, found, waiting)
    return Checked(found, _label(pipeline, found))


def _both(first: Preflight, second: Preflight) -> Preflight:
    return replace(
        first,
        partitions={**first.partitions, **second.partitions},
        size_limits={**first.size_limits, **second.size_limits},
        columns=first.columns or second.columns,
        label=first.label or second.label,
        notes=first.notes + second.notes,
    )


def _label(pipeline: Pipeline, found: Preflight) -> Label:
    """The label after a look at the target, which may only weaken it.

    Raises:
        SinkFailed: The pipeline wants more than the target holds.
    """
    seen = found.label
    if seen is None or seen.guarantee.strength >= pipeline.label.guarantee.strength:
        return pipeline.label
    wanted = pipeline.spec.guarantee
    if wanted is not None and wanted.strength > seen.guarantee.strength:
        raise SinkFailed(
            f"guarantee {wanted} cannot be held: the sink's target holds {seen}",
            "Change the target as said, or leave `guarantee` out.",
        )
    return seen
