"""A look at the servers of a pipeline: what a file cannot tell, found without a change.

The preflight of a daemon makes the checks, and only looks. No group is joined, and no topic, table,
offset or schema is made.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

from kafka_etl.config.build import Pipeline
from kafka_etl.config.document import Document
from kafka_etl.config.report import Finding, Loc
from kafka_etl.contracts import ByteSinkSettings, Codec, Fields, Preflight, Unavailable
from kafka_etl.errors import (
    BrokenPlugin,
    BrokersUnreachable,
    Code,
    KafkaEtlError,
    RegistryRefused,
    SchemaMissing,
)
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.functions.value_fields import misfits
from kafka_etl.runtime.worker import preflight

_AWAY = "Start it, or correct `registry.url`; a pipeline that runs would wait for it."
_REGISTER = "Register it, or correct the sink."
_OTHER_KIND = "Name the codec of that kind, or correct the subject's schema."
_UNCHANGED = ("filter",)
"""Operators behind which a value is what it was before."""


@dataclass(slots=True)
class Look:
    """A look at the servers of one pipeline.

    Args:
        document: The pipeline's file.
        pipeline: The pipeline, without a problem so far.
        may_ask: Called with the place in the file before each check; False: leave the check out.

    Attributes:
        findings: What is wrong.
        notes: What a start would do, and what could not be looked at.
    """

    document: Document
    pipeline: Pipeline
    may_ask: Callable[[Loc], bool] = lambda _loc: True
    findings: list[Finding] = field(default_factory=list[Finding])
    notes: list[str] = field(default_factory=list[str])

    def run(self) -> None:
        """Look at the cluster, at the targets of sinks, and at the schema registry."""
        member = f"kafka-etl.{self.pipeline.spec.name}.validate"
        topics: list[str] = list(getattr(self.pipeline.source_settings, "topics", ()))
        try:
            checked = preflight.check(self.pipeline, member, lambda _reason: None, self._check)
        except BrokersUnreachable as error:
            self._object(error, ("kafka",))
        except KafkaEtlError as error:
            self._object(error, ("guarantee",))
        else:
            self.notes += dict.fromkeys(checked.preflight.notes)
            if getattr(self.pipeline.source_settings, "pattern", None) is not None:
                topics = list(checked.preflight.partitions)
        self._look_at_schemas()
        self._compare(topics)

    def _check(self, loc: Loc, check: Callable[[], Preflight]) -> Preflight:
        """Make one check of the preflight; a cluster that is away ends them all."""
        if self.may_ask(loc):
            try:
                return check()
            except BrokersUnreachable:
                raise
            except KafkaEtlError as error:
                self._object(error, loc)
            except Exception as error:  # noqa: BLE001 - a check of a plug-in
                said = f"the check failed: {type(error).__name__}: {error}"
                self._object(BrokenPlugin(said, "Report this to the author of the plug-in."), loc)
        return Preflight()

    def _look_at_schemas(self) -> None:
        """Ask for the schemas that the sink writes with."""
        codecs, settings = self.pipeline.codecs, self.pipeline.sink_settings
        if not isinstance(settings, ByteSinkSettings):
            return
        for part, codec, is_own in (
            ("value", codecs.sink_value, codecs.converts),
            ("key", codecs.sink_key, codecs.converts_keys),
        ):
            for each in _of_topics(codec, settings.topics) if is_own else ():
                self._ask(("sink", "with", part), each.look)

    def _compare(self, topics: list[str]) -> None:
        """Compare the annotation of the first operator with the schemas of the source's topics."""
        described = self.pipeline.codecs.source_value.fields_of
        number, operator = _first(self.pipeline)
        if described is None or operator is None:
            return
        loc: Loc = ("operators", number, "use")
        for topic in topics:
            if not self.may_ask((*loc, topic)):
                continue
            fields: Fields | None = None
            with self._asking(("source", "with", "value"), partial(self._not_compared, operator)):
                fields = described(topic)
            self._find_misfits(operator, topic, fields, loc)

    def _not_compared(self, operator: BoundOperator, why: str) -> None:
        self.notes.append(f"{why}: operator {operator.name} was not compared with its fields")

    def _find_misfits(
        self, operator: BoundOperator, topic: str, fields: Fields | None, loc: Loc
    ) -> None:
        name = getattr(operator.argument, "__name__", str(operator.argument))
        for misfit in misfits(operator.argument, fields) if fields is not None else ():
            self._add(
                self.document.finding(
                    Code.OPERATOR_TYPES_DIFFER,
                    f"operator {operator.name} takes {name}, and values of topic {topic} do not "
                    f"fit: by their latest schema, {misfit}",
                    loc,
                    hint=f"change {name}, give the field a default, or change the schema",
                )
            )

    def _ask(self, loc: Loc, look: Callable[[], object] | None) -> None:
        if look is None or not self.may_ask(loc):
            return
        with self._asking(loc, lambda why: self._object(SchemaMissing(why, _REGISTER), loc)):
            look()

    @contextmanager
    def _asking(self, loc: Loc, missing: Callable[[str], None]) -> Generator[None]:
        """Find what keeps the schema registry from an answer; `missing` is told of no schema."""
        try:
            yield
        except Unavailable as away:
            if away.of_record:
                missing(away.reason)
            else:
                self._object(RegistryRefused(away.reason, _AWAY), ("registry",))
        except KafkaEtlError as error:
            self._object(error, loc)
        except TypeError as error:  # a schema of another kind than the codec's
            self._object(SchemaMissing(str(error), _OTHER_KIND), loc)

    def _object(self, error: KafkaEtlError, loc: Loc) -> None:
        self._add(self.document.finding(error.code, error.what, loc, hint=error.next_step))

    def _add(self, finding: Finding) -> None:
        # Parts that ask the same cluster may all be told the same.
        if (finding.code, finding.message) not in ((f.code, f.message) for f in self.findings):
            self.findings.append(finding)


def _of_topics(codec: Codec, topics: tuple[str, ...]) -> Iterator[Codec]:
    """The codec, as it is for each topic of the sink."""
    yield codec
    if codec.for_topic is not None:
        yield from map(codec.for_topic, topics[1:])


def _first(pipeline: Pipeline) -> tuple[int, BoundOperator | None]:
    """The first operator that is given what the source's codec decodes, and its number."""
    uses = pipeline.spec.operators
    number = len(list(takewhile(lambda use: use.use in _UNCHANGED, uses)))
    whole = len(pipeline.operators) == len(uses)
    return number, pipeline.operators[number] if whole and number < len(uses) else None
