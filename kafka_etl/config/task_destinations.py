"""The destinations of a task pipeline: names, topics, and a stream pipeline for each one outside.

What goes outside of the cluster is written to a topic first, by the owner. The pipeline of the
destination is an ordinary one that reads this topic, so that retries, refusals and dead letters are
those of any pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kafka_etl.config.document import Document
from kafka_etl.config.parse import is_list, is_mapping
from kafka_etl.config.report import Loc
from kafka_etl.config.task_model import FailureSpec, SuccessSpec, TaskSpec
from kafka_etl.tasks.placing import deliveries_of, inbox_of, undelivered_of
from kafka_etl.tasks.states import State

_ROUTED: Final = ("topic", "routes", "create")
_PLAIN: Final = ("bytes", "text")
"""Codecs whose values are written as they are; all others get what is JSON on the way."""
_OF_LIST: Final = ("name", "when")
"""Keys of a destination of failures that a section `dead_letter` has not."""


@dataclass(frozen=True, slots=True)
class Place:
    """One destination.

    Attributes:
        spec: The destination's model.
        loc: Its place in the file.
        name: Its name, unique in the pipeline; empty: it is on the cluster.
        topic: Topic of what is on its way there; empty: it is on the cluster.
    """

    spec: SuccessSpec | FailureSpec
    loc: Loc
    name: str = ""
    topic: str = ""

    @property
    def when(self) -> list[str]:
        """The outcomes of which the destination hears."""
        if isinstance(self.spec, FailureSpec):
            return list(self.spec.when)
        return [State.SUCCEEDED.value]


@dataclass(frozen=True, slots=True)
class Places:
    """The destinations of a task pipeline, in the order of the file.

    Attributes:
        successes: Those of results.
        failures: Those of tasks that have ended without success.
    """

    successes: tuple[Place, ...]
    failures: tuple[Place, ...]

    @property
    def outside(self) -> list[Place]:
        """The destinations outside of the cluster."""
        return [place for place in (*self.successes, *self.failures) if place.topic]


def places_of(document: Document, spec: TaskSpec) -> Places:
    """The destinations of a task pipeline, with names."""
    taken: set[str] = set()

    def place(given: SuccessSpec | FailureSpec, key: str, index: int) -> Place:
        loc: Loc = (key, index) if is_list(document.data[key]) else (key,)
        if given.on_cluster:
            return Place(given, loc)
        kind = "result" if isinstance(given, SuccessSpec) else "failure"
        base = given.name or re.sub(r"[^a-z0-9]+", "-", f"{kind}-{given.use}".lower()).strip("-")
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        return Place(given, loc, name, deliveries_of(spec.name, name))

    return Places(
        tuple(place(one, "on_success", at) for at, one in enumerate(spec.on_success)),
        tuple(place(one, "on_failure", at) for at, one in enumerate(spec.on_failure)),
    )


def owner_settings(places: Places) -> dict[str, Any]:
    """What an owner is told of the destinations."""
    on_cluster = [p.spec for p in places.successes if not p.topic]
    return {
        "has_results": bool(on_cluster),
        "results": [_routed(spec.with_) for spec in on_cluster[1:]],
        "letters": [
            {
                "topic": spec.topic,
                "format": spec.written_as,
                "when": place.when,
                "create": spec.create if spec.create is False else spec.create.model_dump(),
            }
            for place in places.failures
            if isinstance(spec := place.spec, FailureSpec) and not place.topic
        ],
        "outside": [
            {
                "name": place.name,
                "topic": place.topic,
                "when": place.when,
                "has_input": _wants_input(place),
            }
            for place in places.outside
        ],
    }


def owner_sink(places: Places) -> dict[str, Any]:
    """The sink of an owner: the first destination of results that is a topic.

    Without any, a topic of deliveries stands in, to which the owner writes as well.
    """
    for place in places.successes:
        if not place.topic:
            return {"use": "kafka", "with": _routed(place.spec.with_)}
    return {"use": "kafka", "with": {"topic": places.outside[0].topic}}


def owner_letters(document: Document, name: str, places: Places) -> dict[str, Any]:
    """Where the words go that cannot even be read."""
    for place in places.failures:
        if not place.topic:
            return letters_of(document, place)
    return {"topic": undelivered_of(name)}


def letters_of(document: Document, place: Place) -> dict[str, Any]:
    """A destination of failures as the section `dead_letter` of a stream pipeline."""
    given: Any = document.data
    for part in place.loc:
        given = given[part]
    data = {name: value for name, value in given.items() if name not in _OF_LIST}
    return data | {"with": _without_format(place)} if place.topic else data


def run_sinks(places: Places) -> list[dict[str, Any]]:
    """The sinks for which a runner encodes results: all are topics, as seen from there."""
    sinks: list[dict[str, Any]] = []
    for place in places.successes:
        with_ = place.spec.with_
        if place.topic:
            with_ = {"topic": place.topic, "value": _codec_on_the_way(with_)}
        sinks.append({"use": "kafka", "with": with_})
    return sinks


def delivering(
    document: Document, spec: TaskSpec, place: Place, data: Mapping[str, Any]
) -> Document:
    """The pipeline that delivers to one destination outside of the cluster.

    Args:
        document: The file.
        spec: Its model.
        place: The destination.
        data: Settings of clients, and of the topic: `config`.
    """
    notices = isinstance(place.spec, FailureSpec)
    source: dict[str, Any] = {
        "topics": place.topic,
        "group": f"{spec.name}.deliver.{place.name}",
        "pipeline": spec.name,
        "operator": spec.operator_name,
        "inbox": inbox_of(spec.name),
        "partitions": spec.topics.partitions,
        "config": data["config"],
        "notices": notices,
        "value": "bytes" if notices else _codec_on_the_way(place.spec.with_),
    }
    if isinstance(place.spec, FailureSpec):
        source["claim_check"] = place.spec.claim_check
    elif "key" in spec.source.with_:
        source["key"] = spec.source.with_["key"]
    made: dict[str, Any] = {
        **data["clients"],
        "name": source["group"],
        "source": {"use": "task_deliveries", "with": source},
        "operators": [],
        "sink": {"use": place.spec.use, "with": _without_format(place)},
        "dead_letter": {"topic": undelivered_of(spec.name)},
        "drain_timeout": f"{spec.interrupt_within}s",
    }
    return replace(document, data=made, places=[(("sink",), place.loc)])


def _routed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where results go; how they are encoded is the business of an attempt."""
    return {name: settings[name] for name in _ROUTED if name in settings}


def _codec_on_the_way(settings: Mapping[str, Any]) -> str:
    """The codec of results on their way to a sink with these settings."""
    given: Any = settings.get("value")
    name = given.get("use") if is_mapping(given) else given
    return name if name in _PLAIN else "json"


def _wants_input(place: Place) -> bool:
    return isinstance(place.spec, SuccessSpec) and place.spec.with_.get("format") == "envelope"


def _without_format(place: Place) -> dict[str, Any]:
    """Settings of the sink; a failure is an envelope already, and needs none around it."""
    settings = dict(place.spec.with_)
    if isinstance(place.spec, FailureSpec) and settings.get("format") == "envelope":
        del settings["format"]
    return settings
