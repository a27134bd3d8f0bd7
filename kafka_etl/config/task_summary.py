"""A task pipeline in a few lines for people: what runs, how often, and where its results go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kafka_etl.config.document import Document
from kafka_etl.config.task_destinations import Place, places_of
from kafka_etl.config.task_model import FailureSpec, TaskSpec
from kafka_etl.contracts import Label
from kafka_etl.tasks.placing import owners_of
from kafka_etl.units import show_duration

_ALL_FAILURES: Final = 4


def summary(document: Document, spec: TaskSpec, labels: Mapping[str, Label]) -> str:
    """The lines.

    Args:
        document: The file.
        spec: Its model.
        labels: Name of a stream pipeline that the file stands for -> its guarantee.
    """
    places = places_of(document, spec)
    return "\n".join(
        [
            f"{document.path}: {spec.name}: {labels[owners_of(spec.name)]}; mode: task",
            f"  operator    {_operator(spec)}",
            f"  id          {_identity(spec)}",
            *(f"  on_success  {_place(spec, place, labels)}" for place in places.successes),
            *(f"  on_failure  {_place(spec, place, labels)}" for place in places.failures),
        ]
    )


def _operator(spec: TaskSpec) -> str:
    operator, retry = spec.operator, spec.operator.retry or spec.retry
    attempts = "one attempt" if retry.max_attempts == 1 else f"up to {retry.max_attempts} attempts"
    return (
        f"{spec.operator_name}: {operator.concurrency} at once on each host, {attempts} of up to "
        f"{show_duration(operator.timeout)}"
    )


def _identity(spec: TaskSpec) -> str:
    source = "the header task-id, else the record's place" if spec.id is None else str(spec.id)
    window, then = show_duration(spec.dedup.window), spec.dedup.on_duplicate
    return f"{source}; taken for {window}, duplicates: {then}"


def _place(spec: TaskSpec, place: Place, labels: Mapping[str, Label]) -> str:
    if isinstance(place.spec, FailureSpec):
        states = "" if len(place.when) == _ALL_FAILURES else f", of {', '.join(place.when)}"
        where = f"topic {place.spec.topic}" if place.spec.topic else str(place.spec.use)
    else:
        states = ""
        where = f"topic {place.spec.with_['topic']}" if not place.topic else place.spec.use
    if place.topic:
        where += f": {labels[f'{spec.name}.deliver.{place.name}']}"
    return where + states
