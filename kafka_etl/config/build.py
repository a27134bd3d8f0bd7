"""Builds a pipeline from a document and the plug-in registry; no other module builds one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from kafka_etl.config.check import check
from kafka_etl.config.compatibility import (
    check_concurrency,
    check_conversion,
    check_decoded,
    check_guarantee,
    check_operators,
    check_tables,
    check_topics,
    takes_letters,
)
from kafka_etl.config.connections import check_connections
from kafka_etl.config.document import Document
from kafka_etl.config.guarantee import combined
from kafka_etl.config.mode import mode_finding
from kafka_etl.config.model import OperatorUseSpec, PipelineSpec, RetrySpec
from kafka_etl.config.report import Finding, Loc, config_error, overlap
from kafka_etl.config.salvage import sound_part
from kafka_etl.contracts import (
    ByteSinkSettings,
    Codec,
    CodecContext,
    CodecUse,
    Guarantee,
    Label,
    Settings,
    SinkPlugin,
    SinkSettings,
    SourcePlugin,
    SourceSettings,
    UseSettings,
)
from kafka_etl.errors import Code, ConfigError, ExtraMissing, KafkaEtlError
from kafka_etl.functions.bind import BoundOperator, bind, settings_of
from kafka_etl.functions.context import Context
from kafka_etl.kafka.tasks.settings import TaskDeliverySettings
from kafka_etl.plugins import Kind, PluginRegistry, import_object
from kafka_etl.retry import NEVER, RetryPolicy

T = TypeVar("T")
S = TypeVar("S", bound=Settings)
Side = Literal["source", "sink"]
Part = Literal["value", "key"]
MayImport = Callable[[Document, str, Loc], bool]
"""Whether `use`, at a place of a document, may be imported."""

_JSON: Final = UseSettings(use="json")


@dataclass(frozen=True, slots=True)
class Codecs:
    """The codecs of a pipeline, for values and keys.

    Attributes:
        source_value: Codec that decodes the source's values.
        source_key: Codec that decodes the source's keys.
        sink_value: Codec that encodes values: the sink's own, else the source's.
        sink_key: Codec that encodes keys: the sink's own, else the source's.
        converts: Whether the sink names a codec of values; then every value is encoded anew.
        converts_keys: Whether the sink names a codec of keys; then every key is encoded anew.
    """

    source_value: Codec
    source_key: Codec
    sink_value: Codec
    sink_key: Codec
    converts: bool
    converts_keys: bool

    @property
    def name_schemas(self) -> bool:
        """Whether any of the codecs writes the schema's id into records."""
        codecs = (self.source_value, self.source_key, self.sink_value, self.sink_key)
        return any(codec.names_schema for codec in codecs)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline that is built and ready to run; plain data.

    Attributes:
        spec: Model of the pipeline file.
        folder: Folder of the pipeline file, from which operators' modules are imported.
        config_hash: Hash of the file's text.
        label: The guarantee that source, sink and dead letters hold together.
        letters: Sink plug-in for dead letters; None: they go to a topic or to the sink's table.
        letters_settings: Settings of that plug-in.
        retry: Retry policy of all faults without a policy of their operator.
        retries: Operator's name -> the operator's own retry policy.
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
    label: Label
    retry: RetryPolicy
    retries: Mapping[str, RetryPolicy]
    letters: SinkPlugin[Any] | None = None
    letters_settings: SinkSettings | None = None

    @property
    def dead_letter_topic(self) -> str | None:
        """Topic of dead letters on the pipeline's own cluster, if that is where they go."""
        return self.spec.dead_letter.topic if self.spec.dead_letter else None


def read_spec(document: Document) -> PipelineSpec | list[Finding]:
    """Return the model of a pipeline file, or the findings of the file; imports no plug-in."""
    wrong = mode_finding(document)
    return check(PipelineSpec, document.data, document) if wrong is None else [wrong]


def build(document: Document, registry: PluginRegistry) -> Pipeline:
    """Build the pipeline of a file; imports plug-ins and operators.

    Raises:
        ConfigError: The file has findings; the error's text holds all of them.
    """
    pipeline = examine(document, registry)
    if not isinstance(pipeline, Pipeline):
        raise config_error(pipeline)
    return pipeline


def examine(
    document: Document,
    registry: PluginRegistry,
    may_import: MayImport | None = None,
    *,
    with_extras: bool = False,
) -> Pipeline | list[Finding]:
    """Build the pipeline of a file, or return all findings; imports plug-ins and operators.

    Args:
        document: The pipeline file.
        registry: Registry of plug-ins.
        may_import: Asked before each import of an operator, or of an exception class. What may not
            be imported is missing in the pipeline, which then is not for running.
        with_extras: Whether a sink whose packages are not installed is a finding.
    """
    findings: list[Finding] = []
    spec = read_spec(document)
    if not isinstance(spec, PipelineSpec):
        findings = spec
        sound = sound_part(document, document.data, findings)
        if sound is None:
            return findings
        spec = sound
    builder = _Builder(document, spec, registry, findings, may_import)
    pipeline = builder.build()
    if with_extras:
        builder.require_extras()
    known = [finding.loc for finding in findings if finding.loc]
    findings += [f for f in builder.findings if not any(overlap(f.loc, loc) for loc in known)]
    return pipeline if pipeline is not None and not findings else findings


def build_operator(document: Document, registry: PluginRegistry, name: str) -> BoundOperator:
    """Build one operator of a valid pipeline; called in the operator's own process.

    Raises:
        ConfigError: The operator cannot be built in this process.
    """
    spec = read_spec(document)
    if not isinstance(spec, PipelineSpec):
        raise config_error(spec)
    builder = _Builder(document, spec, registry)
    operator = builder.operator(name)
    if operator is None:
        raise config_error(builder.findings)
    return operator


def build_source_codecs(document: Document, registry: PluginRegistry) -> tuple[Codec, Codec]:
    """Build the codecs of the source's values and keys; imports no operator.

    Raises:
        ConfigError: The file has findings in what the codecs need.
    """
    spec = read_spec(document)
    if not isinstance(spec, PipelineSpec):
        raise config_error(spec)
    builder = _Builder(document, spec, registry)
    codecs = builder.source_codecs()
    if codecs is None:
        raise config_error(builder.findings)
    return codecs


def build_sink(document: Document, registry: PluginRegistry) -> tuple[SinkSettings, Codecs]:
    """Build the sink's settings and all codecs of a valid pipeline; imports no operator.

    Raises:
        ConfigError: The file has findings in these parts.
    """
    spec = read_spec(document)
    if not isinstance(spec, PipelineSpec):
        raise config_error(spec)
    builder = _Builder(document, spec, registry)
    found = builder.sink()
    if found is None:
        raise config_error(builder.findings)
    return found


def same_names(read: Iterable[tuple[Document, PipelineSpec]]) -> list[Finding]:
    """Return a finding for each pipeline that has the name of an earlier pipeline."""
    first: dict[str, Document] = {}
    findings: list[Finding] = []
    for document, spec in read:
        other = first.setdefault(spec.name, document)
        if other is not document:
            message = f"another file has a pipeline `{spec.name}`: {other.path}"
            findings.append(document.finding(Code.DUPLICATE_NAME, message, ("name",)))
    return findings


class _Builder:
    """Builds one pipeline, and collects findings instead of stopping at the first one.

    Args:
        document: The pipeline file.
        spec: Model of the file, or of its valid part.
        registry: Registry of plug-ins.
        known: Earlier findings of the file, whose places are missing in `spec`.
        may_import: See `examine`.
    """

    def __init__(
        self,
        document: Document,
        spec: PipelineSpec,
        registry: PluginRegistry,
        known: Sequence[Finding] = (),
        may_import: MayImport | None = None,
    ) -> None:
        self._document = document
        self._spec = spec
        self._registry = registry
        self._known = known
        self._may_import = may_import
        self.findings: list[Finding] = []

    def build(self) -> Pipeline | None:
        spec = self._spec
        check_connections(spec, self._find)
        source = self._try(("source", "use"), lambda: self._registry.source(spec.source.use))
        source_settings = source and self._plugin_settings(
            "sources", source.settings, spec.source, ("source",)
        )
        sink = self._try(("sink", "use"), lambda: self._registry.sink(spec.sink.use))
        sink_settings = sink and self._plugin_settings("sinks", sink.settings, spec.sink, ("sink",))
        operators = tuple(self._operators())
        whole = len(operators) == len(spec.operators)
        if whole:
            check_operators(operators, self._find)
        retry = self._retry(spec.retry, ("retry",))
        retries = {
            label: self._retry(use.retry, ("operators", index, "retry"))
            for index, (label, use) in enumerate(self._labelled())
            if use.retry is not None
        }
        if not (source and source_settings and sink and sink_settings):
            return None
        letters, letters_settings = self._letters(sink)
        delivers = isinstance(source_settings, TaskDeliverySettings) and source_settings.notices
        if delivers:
            takes_letters(sink, spec.sink.use, ("sink", "use"), self._find)
        label = self._label(sink, sink_settings, delivers=delivers)
        check_topics(source_settings, sink_settings, spec.dead_letter, self._find)
        codecs = self._codecs(source_settings, sink_settings)
        if codecs is None or label is None:
            return None
        if whole:
            check_tables(operators, codecs.source_value, self._find)
        if not spec.operators and isinstance(sink_settings, ByteSinkSettings):
            check_conversion(codecs.source_value, codecs.sink_value, self._find)
            if "value" in sink_settings.model_fields_set:
                check_decoded("value", codecs.source_value, codecs.sink_value, self._find)
            if "key" in sink_settings.model_fields_set:
                check_decoded("key", codecs.source_key, codecs.sink_key, self._find)
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
            label=label,
            retry=retry,
            retries=retries,
            letters=letters,
            letters_settings=letters_settings,
        )

    def require_extras(self) -> None:
        """Find the sinks whose packages are not installed."""
        letters = self._spec.dead_letter
        uses: list[tuple[str, Loc]] = [(self._spec.sink.use, ("sink", "use"))]
        if letters is not None and letters.use is not None:
            uses.append((letters.use, ("dead_letter", "use")))
        for use, at in uses:
            try:
                self._registry.require("sinks", use)
            except ExtraMissing as missing:
                self._object(missing, at)
            except KafkaEtlError:
                pass  # a finding already

    def operator(self, name: str) -> BoundOperator | None:
        """Build the operator of this name, and no other part."""
        uses = ((label, use, i) for i, (label, use) in enumerate(self._labelled()) if label == name)
        label, use, index = next(uses)
        return self._operator(label, use, ("operators", index))

    def source_codecs(self) -> tuple[Codec, Codec] | None:
        """Build the codecs of the source's values and keys, and no other part."""
        settings = self._source_settings()
        if not settings:
            return None
        value = self._codec(settings.value, "source", "value")
        key = self._codec(settings.key, "source", "key")
        return None if value is None or key is None else (value, key)

    def sink(self) -> tuple[SinkSettings, Codecs] | None:
        """Build the sink's settings and all codecs, and no other part."""
        use = self._spec.sink
        plugin = self._try(("sink", "use"), lambda: self._registry.sink(use.use))
        source = self._source_settings()
        if plugin is None or source is None:
            return None
        settings = self._plugin_settings("sinks", plugin.settings, use, ("sink",))
        if settings is None:
            return None
        codecs = self._codecs(source, settings)
        return None if codecs is None else (settings, codecs)

    def _source_settings(self) -> SourceSettings | None:
        use = self._spec.source
        plugin = self._try(("source", "use"), lambda: self._registry.source(use.use))
        if plugin is None:
            return None
        return self._plugin_settings("sources", plugin.settings, use, ("source",))

    def _letters(self, sink: SinkPlugin[Any]) -> tuple[SinkPlugin[Any] | None, SinkSettings | None]:
        """The sink plug-in for dead letters, and its settings, if `dead_letter` names one."""
        spec = self._spec.dead_letter
        if spec is None or spec.use is None:
            if spec is not None and spec.table is not None and sink.letters != "table":
                self._find(
                    Code.INVALID_VALUE,
                    f"sink {self._spec.sink.use} has no table for dead letters",
                    ("dead_letter", "table"),
                    hint="name a topic: `dead_letter: {topic: NAME}`",
                )
            return None, None
        use, at = spec.use, ("dead_letter", "use")
        plugin = self._try(at, lambda: self._registry.sink(use))
        if plugin is None:
            return None, None
        if not takes_letters(plugin, use, at, self._find):
            return None, None
        if "set" in spec.with_:
            self._find(
                Code.INVALID_VALUE,
                "all dead letters go to one place, and `set` chooses none",
                ("dead_letter", "with", "set"),
                hint="leave `set` out",
            )
        given = UseSettings.model_validate({"use": use, "with": spec.with_})
        return plugin, self._plugin_settings("sinks", plugin.settings, given, ("dead_letter",))

    def _label(
        self, sink: SinkPlugin[Any], settings: SinkSettings, *, delivers: bool
    ) -> Label | None:
        """The guarantee of the pipeline; None: the sink does not say its own."""
        use = self._spec.sink.use
        own = self._try(("sink", "use"), lambda: self._registry.label(use, settings))
        if own is None:
            return None
        if delivers and sink.letters == "table":
            own = Label(Guarantee.AT_LEAST_ONCE, "failures are written before offsets move")
        label = combined(own, letters_apart=self._letters_apart(sink))
        check_guarantee(self._spec, label, self._find)
        return label

    def _letters_apart(self, sink: SinkPlugin[Any]) -> bool:
        """Whether dead letters are written outside of the sink's own transaction."""
        spec = self._spec.dead_letter
        if spec is None:
            return False
        return sink.letters is None or getattr(spec, sink.letters) is None

    # Findings

    def _find(self, code: str, message: str, loc: Loc, **more: Any) -> None:
        self.findings.append(self._document.finding(code, message, loc, **more))

    def _try(self, loc: Loc, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except KafkaEtlError as error:
            self._object(error, loc)
            return None

    def _object(self, error: KafkaEtlError, loc: Loc) -> None:
        code = Code.INVALID_VALUE if error.code == ConfigError.code else error.code
        told = error.next_step != ConfigError.advice  # the advice is to validate, as done here
        self._find(code, error.what, loc, hint=error.next_step if told else "")

    def _settings(self, model: type[S], data: Mapping[str, Any], at: Loc) -> S | None:
        checked = check(model, data, self._document, at)
        if isinstance(checked, list):
            self.findings += checked
            return None
        return checked

    def _plugin_settings(self, kind: Kind, model: type[S], given: UseSettings, at: Loc) -> S | None:
        """Check the settings of a plug-in; its model may be broken in ways of its own."""

        def checked() -> S | None:
            with self._registry.blamed(kind, given.use, "settings"):
                return self._settings(model, given.with_, (*at, "with"))

        return self._try((*at, "use"), checked)

    def _is_allowed(self, use: str, loc: Loc) -> bool:
        return self._may_import is None or self._may_import(self._document, use, loc)

    # Parts

    def _labelled(self) -> Iterator[tuple[str, OperatorUseSpec]]:
        """Yield the operators with unique names: a second `filter` becomes `filter-2`."""
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
        if not self._is_allowed(use.use, (*at, "use")):
            return None
        try:
            target, version = self._registry.operator(use.use)
            model = settings_of(target, label)
        except KafkaEtlError as error:
            self._object(error, (*at, "use"))
            return None
        except Exception as error:  # noqa: BLE001 - reading a signature may run user code
            message = f"{use.use} is no operator: {type(error).__name__}: {error}"
            self._find(Code.OPERATOR_SIGNATURE, message, (*at, "use"))
            return None
        settings = self._settings(model, use.with_, (*at, "with"))
        if settings is None:
            return None
        context = Context(pipeline=self._spec.name, operator=label)
        try:
            bound = bind(
                target,
                settings,
                context,
                version=version,
                timeout=use.timeout,
                concurrency=use.concurrency,
                order=use.order,
                isolation=use.isolation,
            )
            if not any(finding.loc == (*at, "concurrency") for finding in self._known):
                check_concurrency(bound, use, at, self._find)
            return bound
        except KafkaEtlError as error:
            self._object(error, (*at, "use"))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - binding runs user code
            message = f"{use.use} does not accept these settings: {type(error).__name__}: {error}"
            self._find(Code.INVALID_VALUE, message, (*at, "with"))
        return None

    def _codecs(self, source: SourceSettings, sink: SinkSettings) -> Codecs | None:
        """Build the codecs; for a sink of rows, the source's stand in for the sink's.

        Rows of a table have no subject in a schema registry: where the source's codec would ask for
        one, JSON stands in.
        """
        topic = next(iter(sink.topics), "")
        source_value = self._codec(source.value, "source", "value")
        source_key = self._codec(source.key, "source", "key")
        if not (source_value and source_key):
            return None
        if isinstance(sink, ByteSinkSettings):
            own, of_value, of_key = sink, source.value, source.key
        else:
            own = ByteSinkSettings()
            of_value = _JSON if source_value.names_schema else source.value
            of_key = _JSON if source_key.names_schema else source.key
        sink_value = self._sink_codec(own.value, of_value, "value", topic)
        sink_key = self._sink_codec(own.key, of_key, "key", topic)
        if not (sink_value and sink_key):
            return None
        return Codecs(
            source_value,
            source_key,
            sink_value,
            sink_key,
            converts=own.value is not None,
            converts_keys=own.key is not None,
        )

    def _sink_codec(
        self, own: CodecUse | None, of_source: CodecUse, part: Part, topic: str
    ) -> Codec | None:
        """Build a codec of the sink: the sink's own, else the source's codec, built for the sink.

        A finding about the source's codec is reported at the source's place in the file.
        """
        at: Side = "sink" if own else "source"
        return self._codec(own or of_source, at, part, CodecContext("sink", part, topic))

    def _codec(
        self, use: CodecUse, at: Side, part: Part, place: CodecContext | None = None
    ) -> Codec | None:
        loc = (at, "with", part)
        plugin = self._try(loc, lambda: self._registry.codec(use.use))
        if plugin is None:
            return None
        settings = self._plugin_settings("codecs", plugin.settings, use, loc)
        if settings is None:
            return None
        hooks = replace(
            place or CodecContext(at, part),
            folder=self._document.folder,
            registry=self._schema_registry(),
        )
        return self._try(loc, lambda: self._registry.build_codec(use.use, settings, hooks))

    def _schema_registry(self) -> Mapping[str, Any]:
        """Return the settings of the schema registry's client.

        If the section `registry` has findings, a placeholder URL stands in for a missing one:
        otherwise each codec would report the missing URL again.
        """
        given = self._spec.registry
        known = any(f.loc[:1] == ("registry",) for f in (*self._known, *self.findings))
        return {"url": "http://unknown", **given} if known else given

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
        module, _, attribute = name.replace(":", ".").rpartition(".")
        if module and not self._is_allowed(f"{module}:{attribute}", loc):
            return None
        try:
            found = import_object(f"{module or 'builtins'}:{attribute}")
        except KafkaEtlError as error:
            self._object(error, loc)
            return None
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
        message = f"`{name}` is not an exception class"
        self._find(Code.INVALID_VALUE, message, loc, hint="write `module:Class`")
        return None


def _hash(document: Document) -> str:
    return hashlib.sha256("\n".join(document.lines).encode()).hexdigest()[:12]
