"""Preflight: checks a pipeline against its cluster before a worker joins the group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from kafka_etl.config.build import Pipeline
from kafka_etl.config.report import Loc
from kafka_etl.contracts import Deployment, Label, Preflight, Pulse
from kafka_etl.errors import SinkFailed
from kafka_etl.kafka.cluster.admin import connections
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

_CLIENT: Final = ("kafka",)
_LOOK: Final = 5.0
"""Seconds for which a look waits for a sink's target."""


class MakeCheck(Protocol):
    """Makes one check of a preflight that only looks, and keeps its problem."""

    def __call__(self, loc: Loc, check: Callable[[], Preflight]) -> Preflight:
        """Return what the check finds; a problem is found at `loc` of the pipeline file."""
        ...


def check(
    pipeline: Pipeline, member: str, waiting: Pulse, look: MakeCheck | None = None
) -> Checked:
    """Check source, sink and place of dead letters, and create the topics that are missing.

    Args:
        pipeline: The pipeline to check.
        member: Member id under which the check connects.
        waiting: Called with the obstacle while the check waits for brokers, or for a store.
        look: Makes each check, so that all problems are found; nothing is created then. None: the
            first problem is raised.

    Raises:
        KafkaEtlError: The first problem found.
    """
    at: MakeCheck = look or _made
    patience = None if look is None else _LOOK
    deployment = replace(deployment_of(pipeline, member, Preflight()), looks_only=look is not None)
    # The first check needs no broker; the last check adds the brokers' size limits.
    at(_CLIENT, lambda: _takes_producer(deployment))
    with connections(waiting):
        source, settings = pipeline.source, pipeline.source_settings
        found = at(("source",), lambda: source.check(settings, deployment))
        place = replace(
            deployment,
            partitions=found.partitions,
            cluster=found.cluster,
            topic_ids=found.topic_ids,
        )
        found = _both(found, at(("sink",), lambda: _sink(pipeline, place, waiting, patience)))
        found = _with_letters(pipeline, place, found, at)
        found = _both(
            found, at(("dead_letter",), lambda: _letter_sink(pipeline, place, waiting, patience))
        )
    at(_CLIENT, lambda: _takes_producer(replace(place, size_limits=found.size_limits)))
    if look is None:
        found = prepare(pipeline, replace(place, columns=found.columns), found, waiting)
    return Checked(found, _label(pipeline, found))


def _made(loc: Loc, check: Callable[[], Preflight]) -> Preflight:
    """Make a check, and raise its problem."""
    del loc  # for those who find more than one problem
    return check()


def _takes_producer(deployment: Deployment) -> Preflight:
    check_producer(deployment)
    return Preflight()


def _sink(
    pipeline: Pipeline, deployment: Deployment, waiting: Pulse, patience: float | None
) -> Preflight:
    """Check the sink."""
    sink, settings = pipeline.sink, pipeline.sink_settings
    checked = until_reached(lambda: sink.check(settings, deployment), waiting, patience=patience)
    return replace(checked, columns=(), label=None) if delivers_notices(pipeline) else checked


def _with_letters(
    pipeline: Pipeline, deployment: Deployment, found: Preflight, at: MakeCheck
) -> Preflight:
    """Add what is found of the topics of dead letters and of their hooks."""
    letters = pipeline.spec.dead_letter
    if letters is None:
        return found
    create, largest = letters.create or None, found.largest_record
    topic, hooks = letters.topic, letters.hook_topics
    if topic is not None:
        written = at(
            ("dead_letter", "topic"),
            lambda: check_topics([topic], create, deployment, largest=largest),
        )
        found = _both(found, written)
    if hooks:
        told = at(("dead_letter", "hooks"), lambda: check_topics(hooks, create, deployment))
        found = replace(found, notes=found.notes + told.notes)
    return found


def _letter_sink(
    pipeline: Pipeline, deployment: Deployment, waiting: Pulse, patience: float | None
) -> Preflight:
    """Check the sink of dead letters, if they have one of their own."""
    sink = pipeline.letters
    if sink is None:
        return Preflight()
    make_letter_door(sink, pipeline, deployment)
    apart = letter_deployment(pipeline, deployment)
    checked = until_reached(
        lambda: sink.check(pipeline.letters_settings, apart), waiting, patience=patience
    )
    return replace(checked, columns=(), label=None)


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
