"""Preflight: checks a pipeline against its cluster before a worker joins the group."""

from __future__ import annotations

from dataclasses import replace

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Preflight, Pulse
from kafka_etl.kafka.admin import connections
from kafka_etl.kafka.preflight import check_producer, check_topics
from kafka_etl.runtime.messages import Checked
from kafka_etl.runtime.worker.assemble import deployment_of


def check(pipeline: Pipeline, member: str, waiting: Pulse) -> Checked:
    """Check source, sink and dead-letter topic, and create the topics that are missing.

    Args:
        pipeline: The pipeline to check.
        member: Member id under which the check connects.
        waiting: Called with the obstacle while the check waits for brokers.

    Raises:
        KafkaEtlError: The first problem found.
    """
    deployment = deployment_of(pipeline, member, Preflight())
    # The first check needs no broker; the check below adds the brokers' size limits.
    check_producer(deployment)
    with connections(waiting):
        found = pipeline.source.check(pipeline.source_settings, deployment)
        deployment = replace(deployment, partitions=found.partitions)
        found = _both(found, pipeline.sink.check(pipeline.sink_settings, deployment))
        letters = pipeline.spec.dead_letter
        if letters is not None:
            create, largest = letters.create or None, found.largest_record
            written = check_topics([letters.topic], create, deployment, largest=largest)
            found = _both(found, written)
    check_producer(replace(deployment, size_limits=found.size_limits))
    return Checked(found, pipeline.guarantee)


def _both(first: Preflight, second: Preflight) -> Preflight:
    return Preflight(
        partitions={**first.partitions, **second.partitions},
        size_limits={**first.size_limits, **second.size_limits},
        ends=first.ends,
        largest_record=first.largest_record,
        notes=first.notes + second.notes,
    )
