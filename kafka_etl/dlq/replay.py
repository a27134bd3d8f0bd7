"""A replay as a pipeline: the source is the dead letters, the rest that of the pipeline's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kafka_etl.config.document import Document
from kafka_etl.config.model import PipelineSpec
from kafka_etl.config.parse import is_mapping

THROUGH: Final = "pipeline"
BACK: Final = "source"
_CODECS: Final = ("value", "key")


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What a replay does with the claimed letters.

    Attributes:
        letters: The dead-letter topic.
        action: Id of the bulk action.
        run: Id of this run of the action.
        release: Whether to give the letters back instead, wherever they were going.
        to: `THROUGH`: through the operators of the pipeline to its sink. `BACK`: to the topics that
            the records came from. Else a topic.
        transform: Operators before those of the pipeline.
        rate: Records a second; None: as fast as they go.
        reset: Whether records that go to a topic lose the history of their failures.
        max_failures: Records that have failed this often are left alone.
        sources: Topics that the records came from.
    """

    letters: str
    action: str
    run: str = ""
    release: bool = False
    to: str = THROUGH
    transform: Sequence[str] = ()
    rate: float | None = None
    reset: bool = False
    max_failures: int = 10
    sources: Sequence[str] = ()


def replay_document(document: Document, spec: PipelineSpec, order: ReplayOrder) -> Document:
    """Make the document of a replay from that of its pipeline.

    Offsets of the replay stand under a name of its own, in Kafka and in a store, so that the
    pipeline's own offsets are never touched: `NAME.replay.ACTION`, after the pipeline's name there.
    """
    data = dict(document.data)
    for name in ("guarantee", "workers"):
        data.pop(name, None)
    source = spec.source.with_
    through = order.to == THROUGH
    with_: dict[str, Any] = {
        "topic": order.letters,
        "action": order.action,
        "run": order.run,
        "release": order.release,
        "group": _own_name(source.get("group") or spec.name, order),
        "keep_failures": not (through or order.reset),
        "max_failures": order.max_failures,
    }
    with_ |= {name: source[name] for name in _CODECS if name in source}
    if "batch" in source:
        with_["batch"] = source["batch"]
    if order.rate is not None:
        with_["rate"] = order.rate
    data["source"] = {"use": "dead_letters", "with": with_}
    own: Sequence[Any] = data.get("operators") or () if through else ()
    used = [*({"use": use} for use in order.transform), *own]
    data["operators"] = [] if order.release else used  # perhaps it is an operator that cannot start
    data["sink"] = _own_offsets(data["sink"], order) if through else _to_topics(order, with_)
    return replace(document, data=data)


def _own_name(name: Any, order: ReplayOrder) -> str:
    return f"{name}.replay.{order.action}"


def _own_offsets(sink: Any, order: ReplayOrder) -> Any:
    """The sink, whose store keeps the offsets under a name of the replay: by default its group."""
    if not is_mapping(sink) or not is_mapping(settings := sink.get("with")):
        return sink
    if not is_mapping(offsets := settings.get("offsets")) or not offsets.get("name"):
        return sink
    own = {**offsets, "name": _own_name(offsets["name"], order)}
    return {**sink, "with": {**settings, "offsets": own}}


def _to_topics(order: ReplayOrder, source: dict[str, Any]) -> dict[str, Any]:
    """A sink for one topic, or for the topics that the records came from."""
    if not order.transform:
        for name in _CODECS:  # bytes go through as they are
            source.pop(name, None)
    if order.to != BACK:
        return {"use": "kafka", "with": {"topic": order.to, "timestamp": "source"}}
    first, *others = order.sources
    settings: dict[str, Any] = {"topic": first, "timestamp": "source"}
    settings["set"] = {"partition": "partition"}
    if others:
        settings |= {"routes": others, "set": {"partition": "partition", "topic": "topic"}}
    return {"use": "kafka", "with": settings}


def transform_document(document: Document, spec: PipelineSpec, order: ReplayOrder) -> Document:
    """Make the document of a trial of the operators in `transform` alone."""
    source = {name: spec.source.with_[name] for name in _CODECS if name in spec.source.with_}
    data = {
        **document.data,
        "source": {"use": "kafka", "with": {"topics": order.letters, **source}},
        "operators": [{"use": use} for use in order.transform],
        "sink": {"use": "stdout"},
        "dead_letter": {"topic": f"{order.letters[:200]}.trial"},
    }
    data.pop("guarantee", None)
    return replace(document, data=data)
