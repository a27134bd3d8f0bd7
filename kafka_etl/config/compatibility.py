"""Checks whether the parts of a pipeline fit together, and reports findings with their places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, Protocol

from kafka_etl.codecs.plain import BYTES, TEXT
from kafka_etl.config.model import DeadLetterSpec, OperatorUseSpec, PipelineSpec
from kafka_etl.config.report import Loc
from kafka_etl.contracts import (
    ByteSinkSettings,
    Codec,
    Label,
    SinkPlugin,
    SinkSettings,
    SourceSettings,
)
from kafka_etl.errors import Code
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.functions.signature import TABLES
from kafka_etl.functions.value_types import fits, shown
from kafka_etl.kafka.settings import KafkaSinkSettings, KafkaSourceSettings
from kafka_etl.kafka.topic_pattern import is_pattern, matches


class Find(Protocol):
    """A function that records a finding."""

    def __call__(self, code: Code, message: str, loc: Loc, **more: Any) -> None: ...


def check_operators(operators: Sequence[BoundOperator], find: Find) -> None:
    """Check that no operator takes other types than the one before gives.

    Only what is certain counts: annotations that leave a doubt fit everything.
    """
    for index, (before, after) in enumerate(pairwise(operators), 1):
        if not fits(before.gives, after.accepts):
            find(
                Code.OPERATOR_TYPES_DIFFER,
                f"operator {after.name} takes {shown(after.accepts)}, but {before.name} before it "
                f"gives {shown(before.gives)}",
                ("operators", index, "use"),
                hint="change one of their annotations, or put an operator between them that makes "
                "one of the other",
            )


def check_tables(operators: Sequence[BoundOperator], value: Codec, find: Find) -> None:
    """Check that a table operator comes first only if no codec of values reads headers.

    Tables are decoded from the bytes of values, without the records' headers.
    """
    if operators and operators[0].shape.takes in TABLES and value.decode_with is not None:
        find(
            Code.OPERATORS_DO_NOT_FIT,
            f"operator {operators[0].name} takes a table, which cannot be made of values whose "
            "schema is named in a header",
            ("operators", 0, "use"),
            hint="let an operator on values come first, or leave out `schema_id: header`",
        )


def check_conversion(source: Codec, sink: Codec, find: Find) -> None:
    """Check, for a pipeline without operators, that the sink's codec can encode source values."""
    if sink is BYTES and source not in (BYTES, TEXT):
        find(
            Code.OPERATORS_DO_NOT_FIT,
            f"the sink's codec bytes cannot write the values that codec {source.name} makes, and "
            "no operator makes bytes of them",
            ("sink", "with", "value"),
            hint="leave `value` out of the sink, and the bytes go through as they are; or name "
            "what to write: `json`, or `text` where every value is one",
        )


def check_decoded(part: Literal["value", "key"], source: Codec, sink: Codec, find: Find) -> None:
    """Without operators, a codec named at the sink needs one at the source: bytes stay bytes."""
    if source is BYTES and sink is not BYTES:
        find(
            Code.OPERATORS_DO_NOT_FIT,
            f"codec {sink.name} of the sink's {part} would do nothing: the source leaves the "
            f"{part} as bytes, and no operator makes anything else of them",
            ("sink", "with", part),
            hint=f"name what the bytes are under source.with.{part}, such as `{sink.name}`; or "
            f"leave `{part}` out of the sink, and the bytes go through as they are",
        )


def takes_letters(plugin: SinkPlugin[Any], use: str, at: Loc, find: Find) -> bool:
    """Whether a sink takes dead letters; one that does not is a finding."""
    if plugin.letters == "table":
        return True
    if not issubclass(plugin.settings, ByteSinkSettings):
        find(
            Code.INVALID_VALUE,
            f"sink {use} has no table for dead letters",
            at,
            hint="name a queue, `http`, or a store that has one, such as `postgres`",
        )
        return False
    if "offsets" in plugin.settings.model_fields:
        find(
            Code.INVALID_VALUE,
            f"sink {use} keeps offsets beside its rows, so that nothing else is written there",
            at,
            hint="write to a topic, and from there to "
            f"{use} with a pipeline of its own: `dead_letter: {{topic: NAME}}`",
        )
        return False
    return True


def check_concurrency(bound: BoundOperator, use: OperatorUseSpec, at: Loc, find: Find) -> None:
    """Check that an operator can have the `concurrency` and `order` that are given."""
    if use.concurrency > 1 and bound.shape.batch:
        message = f"operator {bound.name} takes a batch: it is called once for all its records"
        hint = "leave `concurrency` out, or let it take one record at a time"
        find(Code.INVALID_VALUE, message, (*at, "concurrency"), hint=hint)
    if use.concurrency == 1 and "order" in use.model_fields_set:
        message = "`order` means nothing without `concurrency`: records run one after the other"
        find(Code.INVALID_VALUE, message, (*at, "order"))


def check_guarantee(spec: PipelineSpec, label: Label, find: Find) -> None:
    """Check that the parts of a pipeline hold the guarantee that the file asks for."""
    wanted = spec.guarantee
    if wanted is not None and wanted.strength > label.guarantee.strength:
        find(
            Code.GUARANTEE_NOT_HELD,
            f"guarantee {wanted} cannot be held: sink {spec.sink.use} holds {label}",
            ("guarantee",),
            hint="leave `guarantee` out to run with what the parts hold, or change the sink",
        )


def check_topics(
    source: SourceSettings, sink: SinkSettings, letters: DeadLetterSpec | None, find: Find
) -> None:
    """Check that a pipeline reads no topic it writes, and keeps dead letters apart from outputs.

    Of a sink's topics by pattern, those are found that the pipeline file names elsewhere.

    Args:
        source: Settings of the source.
        sink: Settings of the sink.
        letters: Place of dead letters, and hooks with topics, if there are any.
        find: Records a finding.
    """
    dead_letters = letters.topic if letters else None
    routes = sink.routes if isinstance(sink, KafkaSinkSettings) else sink.topics[1:]
    places: list[tuple[str, Loc]] = [
        (topic, ("sink", "with", "topic")) for topic in sink.topics[:1]
    ]
    places += [
        (route, ("sink", "with", "routes", i))
        for i, route in enumerate(routes)
        if not is_pattern(route)
    ]
    if dead_letters is not None:
        if dead_letters in sink.topics:
            message = f"dead letters and outputs would mix in topic {dead_letters}"
            hint = f"name a topic of their own, such as `{dead_letters}.dlq`"
            find(Code.TOPIC_LOOP, message, ("dead_letter", "topic"), hint=hint)
        places.append((dead_letters, ("dead_letter", "topic")))
    for number, hook in enumerate(letters.hooks if letters else ()):
        if hook.topic is None:
            continue
        at: Loc = ("dead_letter", "hooks", number, "topic")
        if hook.topic == dead_letters or hook.topic in sink.topics:
            message = f"notices and other records would mix in topic {hook.topic}"
            find(Code.TOPIC_LOOP, message, at, hint="name a topic of their own")
        places.append((hook.topic, at))
    for topic, loc in places:
        if source.reads(topic):
            message = f"the source reads topic {topic}, which the pipeline writes"
            hint = "name another topic: the pipeline would read again what it has written"
            find(Code.TOPIC_LOOP, message, loc, hint=hint)
    if isinstance(sink, KafkaSinkSettings):
        read = source.topics if isinstance(source, KafkaSourceSettings) else ()
        _check_patterns(sink, read, dead_letters, find)


def _check_patterns(
    sink: KafkaSinkSettings, read: Sequence[str], dead_letters: str | None, find: Find
) -> None:
    """Check that a pattern fits no topic that records of the sink must not get into.

    Args:
        sink: Settings of the sink.
        read: Topics of the source by name, or its pattern.
        dead_letters: Dead-letter topic, if there is one.
        find: Records a finding.
    """
    for index, route in enumerate(sink.routes):
        if not is_pattern(route):
            continue
        loc = ("sink", "with", "routes", index)
        hint = "make the pattern narrower: a $ at its end lets nothing follow"
        for topic in read:
            if topic == route or (not is_pattern(topic) and matches(route, topic)):
                message = f"the source reads {topic}, which this pattern lets the pipeline write"
                find(Code.TOPIC_LOOP, message, loc, hint=hint)
        if dead_letters is not None and matches(route, dead_letters):
            message = f"this pattern lets outputs mix with dead letters in topic {dead_letters}"
            find(Code.TOPIC_LOOP, message, loc, hint=hint)
