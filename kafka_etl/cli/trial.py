"""Runs a pipeline's operators on some records, as a worker would, and writes nothing."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.config.document import Document
    from kafka_etl.engine.attempt.chain import Chain
    from kafka_etl.functions.bind import BoundOperator
    from kafka_etl.invocation import DeadLetter, Outputs, Settlement
    from kafka_etl.record import SourceRecord

_REGISTRY_PATIENCE: Final = 10
"""The number of further tries, a second apart, while the schema registry does not answer."""


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
def built_for_trial(document: Document) -> Generator[Pipeline]:
    """Build the pipeline of a document so that running it writes nothing.

    Until the end, operators' modules are importable, and standard output belongs to the pipeline's
    outputs: operators' own prints go to standard error.

    Raises:
        ConfigError: The document has findings.
    """
    from kafka_etl.config.build import build
    from kafka_etl.plugins import PluginRegistry, importable

    with contextlib.redirect_stdout(sys.stderr), importable(document.folder):
        yield build(registering_nothing(document), PluginRegistry.installed())


def run_trial(
    pipeline: Pipeline,
    records: Sequence[SourceRecord],
    watched: Callable[[Chain], Chain] | None = None,
) -> Trial:
    """Run one invocation, as a worker would, with retries; all operators run in this process.

    Args:
        pipeline: The pipeline.
        records: The records of the invocation.
        watched: Takes the chain, and gives the chain that is run; None: the chain itself.

    Raises:
        TryEnded: The schema registry does not answer.
        KafkaEtlError: The pipeline would pause or stop.
    """
    from kafka_etl.contracts import Preflight
    from kafka_etl.engine.attempt.invoker import Invoker
    from kafka_etl.engine.pools.pools import Pools
    from kafka_etl.invocation import Invocation
    from kafka_etl.record import Batch, next_offsets
    from kafka_etl.runtime.worker.assemble import deployment_of, make_chain
    from kafka_etl.settle import settle

    pools = Pools(pipeline.operators, tick=lambda: None)
    place = deployment_of(pipeline, "try", Preflight())
    chain = make_chain(pipeline, place, lambda _stage: None, pools)
    chain = chain if watched is None else watched(chain)
    invoker = Invoker(chain, pipeline.retry, pipeline.retries, _now_ms, random.random)
    batch = Batch(records, next_offsets(records), {})
    invocation = Invocation("try", batch, _now_ms())
    opened: list[BoundOperator] = []
    try:
        for operator in pipeline.operators:
            operator.context.worker = f"kafka-etl.{pipeline.spec.name}.try"
            pools.open(operator)
            opened.append(operator)
        outcome = _patiently(lambda: invoker.run(invocation, _wait))
    finally:
        for operator in opened:
            pools.end(operator)
        pools.close()
    verdict = settle(invocation, outcome, dead_letters=True, at_ms=_now_ms())
    return Trial(pipeline, verdict.settlement, outcome.dropped)


def _patiently(run: Any) -> Any:
    """Call `run`, and call it again while a codec gets no answer from the schema registry.

    Raises:
        TryEnded: The registry has not answered after the last try.
    """
    from kafka_etl.contracts import Unavailable
    from kafka_etl.errors import TryEnded

    tries = 0
    while True:
        try:
            return run()
        except Unavailable as away:
            tries += 1
            if tries > _REGISTRY_PATIENCE:
                raise TryEnded(away.reason) from away
            typer.echo(away.reason, err=True)
            time.sleep(1)


def registering_nothing(document: Document) -> Document:
    """Return the document with `register: false` in the sink's codecs that set `register`."""
    from kafka_etl.config.parse import is_mapping

    sink = document.data.get("sink")
    told: Any = sink.get("with") if is_mapping(sink) else None
    if not is_mapping(sink) or not is_mapping(told):
        return document
    codecs = {part: _not_registering(told[part]) for part in ("value", "key") if part in told}
    return replace(document, data={**document.data, "sink": {**sink, "with": {**told, **codecs}}})


def _not_registering(codec: Any) -> Any:
    from kafka_etl.config.parse import is_mapping

    if not is_mapping(codec) or not is_mapping(told := codec.get("with")):
        return codec
    return {**codec, "with": {**told, "register": False}} if "register" in told else codec


def print_outputs(outputs: Outputs, topics: Sequence[str], *, json: bool) -> None:
    """Print outputs to standard output, one a line; `topics` are the sink's."""
    import orjson

    from kafka_etl.readable import data_of, headers_of, shown, value_of

    for i, value in enumerate(outputs.values):
        if not json:
            typer.echo(shown(value))
            continue
        topic = outputs.topics[i] if outputs.topics is not None else None
        parts = {
            "topic": topic or (topics[0] if topics else None),
            **data_of("key", outputs.keys[i]),
            **value_of(value),
            "headers": headers_of((outputs.headers[i] if outputs.headers else None) or []),
        }
        typer.echo(orjson.dumps(parts).decode())


def print_dead_letters(pipeline: Pipeline, letters: Sequence[DeadLetter]) -> None:
    """Print dead letters to standard error, as the pipeline would write them."""
    from kafka_etl.cli.dlq.rendering import briefly
    from kafka_etl.contracts import Preflight
    from kafka_etl.dead_letters.raw import stored
    from kafka_etl.runtime.worker.assemble import deployment_of

    about = deployment_of(pipeline, f"kafka-etl.{pipeline.spec.name}.try", Preflight()).provenance
    for letter in letters:
        typer.echo(briefly(stored(letter, about)), err=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _wait(seconds: float, reason: str) -> None:
    """Wait before the next attempt, and say why."""
    typer.echo(f"waiting {seconds:.1f} s: {reason}", err=True)
    time.sleep(seconds)
