"""The only place that constructs: from a document and the registry to a pipeline."""

from __future__ import annotations

import builtins
import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from kafka_etl.bind import BoundOperator, bind, settings_of
from kafka_etl.config.check import check
from kafka_etl.config.document import Document
from kafka_etl.config.model import OperatorUseSpec, PipelineSpec, RetrySpec
from kafka_etl.config.report import Finding, Loc, config_error, did_you_mean
from kafka_etl.contracts import (
    Codec,
    Guarantee,
    Settings,
    SinkPlugin,
    SinkSettings,
    SourcePlugin,
    SourceSettings,
)
from kafka_etl.declare import Context
from kafka_etl.errors import Code, KafkaEtlError
from kafka_etl.kafka.client_settings import ALLOWED, Section, objection
from kafka_etl.registry import Registry
from kafka_etl.retry import NEVER, RetryPolicy
from kafka_etl.signature import Takes

T = TypeVar("T")
S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Codecs:
    """How bytes become values and back."""

    source_value: Codec
    source_key: Codec
    sink_value: Codec
    sink_key: Codec


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline ready to run; no behaviour.

    Attributes:
        folder: Where its operators' modules are.
        config_hash: Changes with the file.
        retry: Of faults outside an operator of its own policy.
        retries: Operator -> its own policy.
    """

    spec: PipelineSpec
    folder: Path
    config_hash: str
    source: SourcePlugin[Any]
    source_settings: SourceSettings
    sink: SinkPlugin[Any]
    sink_settings: SinkSettings
    codecs: Codecs
    operators: tuple[BoundOperator, ...]
    guarantee: Guarantee
    retry: RetryPolicy
    retries: Mapping[str, RetryPolicy]


def read_spec(document: Document) -> PipelineSpec | list[Finding]:
    """The pipeline file as a model, or what is wrong with it; imports no plug-in."""
    return check(PipelineSpec, document.data, document)


def build(document: Document, registry: Registry) -> Pipeline:
    """Everything a pipeline file names, put together.

    Raises:
        ConfigError: With every finding.
    """
    spec = read_spec(document)
    if not isinstance(spec, PipelineSpec):
        raise config_error(spec)
    builder = _Builder(document, spec, registry)
    pipeline = builder.build()
    if pipeline is None or builder.findings:
        raise config_error(builder.findings)
    return pipeline


class _Builder:
    """Collects findings, so that one run names them all."""

    def __init__(self, document: Document, spec: PipelineSpec, registry: Registry) -> None:
        self._document = document
        self._spec = spec
        self._registry = registry
        self.findings: list[Finding] = []

    def build(self) -> Pipeline | None:
        spec = self._spec
        self._check_client_settings()
        source = self._try(("source", "use"), lambda: self._registry.source(spec.source.use))
        source_settings = source and self._settings(
            source.settings, spec.source.with_, ("source", "with")
        )
        sink = self._try(("sink", "use"), lambda: self._registry.sink(spec.sink.use))
        sink_settings = sink and self._settings(sink.settings, spec.sink.with_, ("sink", "with"))
        operators = tuple(self._operators())
        retry = self._retry(spec.retry, ("retry",))
        retries = {
            label: self._retry(use.retry, ("operators", index, "retry"))
            for index, (label, use) in enumerate(self._labelled())
            if use.retry is not None
        }
        if not (source and source_settings and sink and sink_settings):
            return None
        self._check_fit(operators)
        self._check_loops(source_settings, sink_settings)
        self._check_guarantee(sink)
        codecs = self._codecs(source_settings, sink_settings)
        if codecs is None:
            return None
        return Pipeline(
            spec=spec,
            folder=self._document.folder,
            config_hash=_hash(self._document),
            source=source,
            source_settings=source_settings,
            sink=sink,
            sink_settings=sink_settings,
            codecs=codecs,
            operators=operators,
            guarantee=spec.guarantee or sink.guarantee,
            retry=retry,
            retries=retries,
        )

    # Findings

    def _find(self, code: Code, message: str, loc: Loc, **more: Any) -> None:
        self.findings.append(self._document.finding(code, message, loc, **more))

    def _try(self, loc: Loc, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except KafkaEtlError as error:
            self._find(Code(error.code), error.what, loc, hint=error.next_step)
            return None

    def _settings(self, model: type[S], data: Mapping[str, Any], at: Loc) -> S | None:
        checked = check(model, data, self._document, at)
        if isinstance(checked, list):
            self.findings += checked
            return None
        return checked

    # Parts

    def _labelled(self) -> Iterator[tuple[str, OperatorUseSpec]]:
        """Operators with names that differ: a second `filter` is `filter-2`."""
        seen: dict[str, int] = {}
        for use in self._spec.operators:
            count = seen[use.label] = seen.get(use.label, 0) + 1
            yield (use.label if count == 1 else f"{use.label}-{count}"), use

    def _operators(self) -> Iterator[BoundOperator]:
        for index, (label, use) in enumerate(self._labelled()):
            operator = self._operator(label, use, ("operators", index))
            if operator is not None:
                yield operator

    def _operator(self, label: str, use: OperatorUseSpec, at: Loc) -> BoundOperator | None:
        def prepare() -> tuple[Callable[..., Any], str, type[Settings]]:
            target, version = self._registry.operator(use.use)
            return target, version, settings_of(target, label)

        prepared = self._try((*at, "use"), prepare)
        if prepared is None:
            return None
        target, version, model = prepared
        settings = self._settings(model, use.with_, (*at, "with"))
        if settings is None:
            return None
        context = Context(pipeline=self._spec.name, operator=label)
        try:
            return bind(target, settings, context, version=version, timeout=use.timeout)
        except KafkaEtlError as error:
            self._find(Code(error.code), error.what, (*at, "use"), hint=error.next_step)
        except Exception as error:  # noqa: BLE001 - a class or factory may raise anything
            message = f"{use.use} does not accept these settings: {type(error).__name__}: {error}"
            self._find(Code.INVALID_VALUE, message, (*at, "with"))
        return None

    def _codecs(self, source: SourceSettings, sink: SinkSettings) -> Codecs | None:
        def codec(name: str, loc: Loc) -> Codec | None:
            return self._try(loc, lambda: self._registry.codec(name))

        found = (
            codec(source.value, ("source", "with", "value")),
            codec(source.key, ("source", "with", "key")),
            codec(sink.value or source.value, ("sink", "with", "value")),
            codec(sink.key or source.key, ("sink", "with", "key")),
        )
        source_value, source_key, sink_value, sink_key = found
        if source_value and source_key and sink_value and sink_key:
            return Codecs(source_value, source_key, sink_value, sink_key)
        return None

    def _retry(self, spec: RetrySpec, at: Loc) -> RetryPolicy:
        def classes(names: tuple[str, ...], key: str) -> tuple[type[BaseException], ...]:
            found = (self._exception(name, (*at, key, index)) for index, name in enumerate(names))
            return tuple(cls for cls in found if cls is not None)

        return RetryPolicy(
            max_attempts=spec.max_attempts,
            backoff=spec.backoff.build(),
            never=NEVER + classes(spec.never, "never"),
            only=None if spec.only is None else classes(spec.only, "only"),
        )

    def _exception(self, name: str, loc: Loc) -> type[BaseException] | None:
        module_name, _, attribute = name.replace(":", ".").rpartition(".")
        try:
            module = importlib.import_module(module_name) if module_name else builtins
            found = getattr(module, attribute, None)
        except Exception as error:  # noqa: BLE001 - importing runs anybody's code
            self._find(Code.BROKEN_PLUGIN, f"importing {module_name} failed: {error}", loc)
            return None
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
        message = f"`{name}` is not an exception class"
        self._find(Code.INVALID_VALUE, message, loc, hint="write `module:Class`")
        return None

    # Checks across parts

    def _check_client_settings(self) -> None:
        sections: tuple[Section, ...] = ("kafka", "consumer", "producer")
        for section in sections:
            given: Mapping[str, Any] = getattr(self._spec, section)
            for name in given:
                problem = objection(section, name)
                if problem is not None:
                    allowed = sorted(ALLOWED[section])
                    self._find(
                        Code.KAFKA_SETTING_REFUSED,
                        problem,
                        (section, name),
                        at_key=True,
                        allowed=allowed,
                        hint=did_you_mean(name, allowed),
                    )
        if not self._spec.kafka.get("bootstrap.servers"):
            hint = "kafka: {bootstrap.servers: localhost:9092}"
            message = "`bootstrap.servers` is missing under `kafka`"
            self._find(Code.MISSING_KEY, message, ("kafka",), at_key=True, hint=hint)

    def _check_fit(self, operators: tuple[BoundOperator, ...]) -> None:
        """Bytes and text are asked of the source only by the first operator."""
        if len(operators) < len(self._spec.operators):
            return
        for index, (before, after) in enumerate(pairwise(operators), 1):
            wanted, given = after.shape.takes, before.shape.gives
            if wanted in (Takes.BYTES, Takes.TEXT) and given not in (None, wanted):
                self._find(
                    Code.OPERATORS_DO_NOT_FIT,
                    f"operator {after.name} takes {wanted}, but {before.name} before it returns "
                    f"{given}",
                    ("operators", index, "use"),
                )

    def _check_loops(self, source: SourceSettings, sink: SinkSettings) -> None:
        places: list[tuple[str, Loc]] = [
            (topic, ("sink", "with", "topic") if i == 0 else ("sink", "with", "routes", i - 1))
            for i, topic in enumerate(sink.topics)
        ]
        letters = self._spec.dead_letter
        if letters is not None:
            if letters.topic in sink.topics:
                message = f"dead letters and outputs would mix in topic {letters.topic}"
                self._find(Code.TOPIC_LOOP, message, ("dead_letter", "topic"))
            places.append((letters.topic, ("dead_letter", "topic")))
        for topic, loc in places:
            if source.reads(topic):
                message = f"the source reads topic {topic}, which the pipeline writes"
                self._find(Code.TOPIC_LOOP, message, loc)

    def _check_guarantee(self, sink: SinkPlugin[Any]) -> None:
        wanted = self._spec.guarantee
        if wanted is not None and wanted.strength > sink.guarantee.strength:
            self._find(
                Code.GUARANTEE_NOT_HELD,
                f"guarantee {wanted} cannot be held: sink {self._spec.sink.use} holds "
                f"{sink.guarantee}",
                ("guarantee",),
                hint="leave `guarantee` out to run with what the parts hold, or change the sink",
            )


def _hash(document: Document) -> str:
    return hashlib.sha256("\n".join(document.lines).encode()).hexdigest()[:12]
