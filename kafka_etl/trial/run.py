"""Runs a pipeline's operators on some records, as a worker would, and writes nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kafka_etl.config.build import Pipeline, build
from kafka_etl.config.document import Document
from kafka_etl.config.parse import is_mapping
from kafka_etl.contracts import Preflight, Unavailable
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.envelope import Provenance
from kafka_etl.errors import TryEnded
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.invocation import Invocation, Outcome, Settlement
from kafka_etl.plugins import PluginRegistry, importable
from kafka_etl.record import Batch, SourceRecord, next_offsets
from kafka_etl.runtime.worker.chains import make_chain
from kafka_etl.runtime.worker.deployments import deployment_of
from kafka_etl.settle import settle
from kafka_etl.trial.clock import Clock
from kafka_etl.trial.exits import exits_told

_PATIENCE: Final = 10
"""The number of further tries, a second apart, while a system that a codec needs is away."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of the records.

    Attributes:
        pipeline: The pipeline that was run.
        settlement: Outputs and dead letters, as the sink would have been given them.
        dropped: Number of records that operators dropped.
    """

    pipeline: Pipeline
    settlement: Settlement
    dropped: int


@contextlib.contextmanager
def building(
    document: Document, registry: PluginRegistry | None = None
) -> Generator[Callable[[], Pipeline]]:
    """Yield a function that builds the pipeline of a document so that running it writes nothing.

    Until the end, operators' modules are importable, and are imported once; each pipeline has new
    instances of its operators.

    Args:
        document: The document; `build` raises ConfigError for its findings.
        registry: Plug-ins; None: those that are installed.
    """
    harmless = _without_cases(registering_nothing(document))
    plugins = registry or PluginRegistry.installed()
    with importable(document.folder), exits_told():
        yield lambda: build(harmless, plugins)


@contextlib.contextmanager
def built_for_trial(document: Document) -> Generator[Pipeline]:
    """Yield the pipeline of a document, built once; see `building`.

    Until the end, operators' prints go to standard error: standard output belongs to the results.

    Raises:
        ConfigError: The document has findings.
    """
    with contextlib.redirect_stdout(sys.stderr), building(document) as built:
        yield built()


@contextlib.contextmanager
def opened(
    pipeline: Pipeline, clock: Clock, changed: Callable[[Chain], Chain] | None = None
) -> Generator[Callable[[Sequence[SourceRecord]], Trial]]:
    """Open the operators, and yield a function that runs one invocation, as a worker would.

    All operators run in this process. The function raises what `run_trial` raises.

    Args:
        pipeline: The pipeline.
        clock: Tells the time, and waits before further attempts.
        changed: Takes the chain, and gives the chain that is run; None: the chain itself.
    """
    pools = Pools(pipeline.operators, tick=lambda: None)
    place = deployment_of(pipeline, "try", Preflight())
    chain = make_chain(pipeline, place, lambda _stage: None, pools)
    chain = chain if changed is None else changed(chain)
    invoker = Invoker(chain, pipeline.retry, pipeline.retries, clock.now_ms, clock.random)

    def run(records: Sequence[SourceRecord]) -> Trial:
        batch = Batch(records, next_offsets(records), {})
        invocation = Invocation("try", batch, clock.now_ms())
        outcome = _patiently(lambda: invoker.run(invocation, clock.wait), clock)
        verdict = settle(invocation, outcome, dead_letters=True, at_ms=clock.now_ms())
        return Trial(pipeline, verdict.settlement, outcome.dropped)

    ready: list[BoundOperator] = []
    try:
        for operator in pipeline.operators:
            operator.context.worker = _member(pipeline)
            pools.open(operator)
            ready.append(operator)
        yield run
    finally:
        for operator in ready:
            pools.end(operator)
        pools.close()


def run_trial(
    pipeline: Pipeline,
    records: Sequence[SourceRecord],
    clock: Clock,
    changed: Callable[[Chain], Chain] | None = None,
) -> Trial:
    """Run one invocation, as a worker would, with retries; see `opened`.

    Raises:
        TryEnded: A system that a codec or an operator needs is away.
        KafkaEtlError: The pipeline would pause or stop.
    """
    with opened(pipeline, clock, changed) as run:
        return run(records)


def provenance_of(pipeline: Pipeline) -> Provenance:
    """Return the origin that dead letters of a trial name."""
    return deployment_of(pipeline, _member(pipeline), Preflight()).provenance


def _member(pipeline: Pipeline) -> str:
    return f"kafka-etl.{pipeline.spec.name}.try"


def _patiently(run: Callable[[], Outcome], clock: Clock) -> Outcome:
    """Call `run`, and call it again while a system that blames no record is away.

    Raises:
        TryEnded: The system is away after the last try.
    """
    tries = 0
    while True:
        try:
            return run()
        except Unavailable as away:
            tries += 1
            if tries > _PATIENCE:
                raise TryEnded(away.reason) from away
            clock.wait(1, away.reason)


def _without_cases(document: Document) -> Document:
    """The document without its cases, which would be checked once more for each pipeline."""
    data = {name: value for name, value in document.data.items() if name != "tests"}
    return replace(document, data=data)


def registering_nothing(document: Document) -> Document:
    """Return the document with `register: false` in the sink's codecs that set `register`."""
    sink = document.data.get("sink")
    told: Any = sink.get("with") if is_mapping(sink) else None
    if not is_mapping(sink) or not is_mapping(told):
        return document
    codecs = {part: _not_registering(told[part]) for part in ("value", "key") if part in told}
    return replace(document, data={**document.data, "sink": {**sink, "with": {**told, **codecs}}})


def _not_registering(codec: Any) -> Any:
    if not is_mapping(codec) or not is_mapping(told := codec.get("with")):
        return codec
    return {**codec, "with": {**told, "register": False}} if "register" in told else codec
