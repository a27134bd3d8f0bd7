"""`kafka-etl try`: runs a pipeline's operators on some real records, and writes no outputs."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from kafka_etl.cli.cluster import Cluster, KafkaOption, find_cluster, source_of
from kafka_etl.cli.options import Sets, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.config.document import Document
    from kafka_etl.functions.bind import BoundOperator
    from kafka_etl.invocation import Outputs, Settlement
    from kafka_etl.record import SourceRecord

_REGISTRY_PATIENCE: Final = 10
"""The number of further tries, a second apart, while the schema registry does not answer."""


def try_out(  # noqa: PLR0913 - one parameter per option
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A pipeline file.")],
    *,
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many records.")] = 10,
    begin: Annotated[
        Literal["earliest", "end"], typer.Option("--from", help="The first ones, or the last.")
    ] = "end",
    json: Annotated[
        bool, typer.Option("--json", help="Outputs with topic, key and headers, as JSON.")
    ] = False,
    kafka: KafkaOption = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Run a pipeline's operators on real records and print the outputs; writes nothing.

    Outputs go to standard output, dead letters to standard error. The command joins no group,
    commits no offset and registers no schema. All operators run in this process, also those with
    `isolation`; their own side effects, such as requests to a service, do happen.

    Example: kafka-etl try pipeline.yaml -n 3
    """
    overrides = parse_sets(sets)
    cluster = find_cluster(kafka, path, overrides)
    records = _read(cluster, path, begin, count)
    if not records:
        typer.echo("the source's topics have no records", err=True)
        return
    # Standard output is for the pipeline's outputs: operators' own prints go to standard error.
    with contextlib.redirect_stdout(sys.stderr):
        pipeline, settlement, dropped = _run(path, overrides, records)
    _print_outputs(settlement.outputs, pipeline.sink_settings.topics, json=json)
    _print_dead_letters(pipeline, settlement)
    typer.echo(
        f"{len(records):,} records in, {len(settlement.outputs):,} out, {dropped:,} dropped, "
        f"{len(settlement.dead_letters):,} dead letters. Nothing was written.",
        err=True,
    )


def _read(cluster: Cluster, path: Path, begin: str, count: int) -> Sequence[SourceRecord]:
    from kafka_etl.kafka.admin import reached
    from kafka_etl.kafka.offsets import partitions_of_source
    from kafka_etl.kafka.topics import first_records, last_records, whole

    _, source = source_of(cluster, path)
    admin = reached(cluster.admin)
    ranges = whole(admin, partitions_of_source(admin, source))
    read = first_records if begin == "earliest" else last_records
    return read(cluster.consumer, ranges, count)


def _run(
    path: Path, overrides: dict[str, str], records: Sequence[SourceRecord]
) -> tuple[Pipeline, Settlement, int]:
    """Build the pipeline and run one invocation, as a worker would."""
    from kafka_etl.cli.run import read_pipelines
    from kafka_etl.config.build import build
    from kafka_etl.plugins import PluginRegistry, importable

    ((document, _),) = read_pipelines([path], overrides)
    with importable(document.folder):
        pipeline = build(registering_nothing(document), PluginRegistry.installed())
        settlement, dropped = _invoked(pipeline, records)
    return pipeline, settlement, dropped


def _invoked(pipeline: Pipeline, records: Sequence[SourceRecord]) -> tuple[Settlement, int]:
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
    return verdict.settlement, outcome.dropped


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


def _print_outputs(outputs: Outputs, topics: Sequence[str], *, json: bool) -> None:
    import orjson

    from kafka_etl.cli.readable import data_of, headers_of, shown, value_of

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


def _print_dead_letters(pipeline: Pipeline, settlement: Settlement) -> None:
    """Print dead letters as the pipeline would write them."""
    from kafka_etl.cli.dlq.rendering import briefly
    from kafka_etl.contracts import Preflight
    from kafka_etl.dead_letters import stored
    from kafka_etl.runtime.worker.assemble import deployment_of

    about = deployment_of(pipeline, f"kafka-etl.{pipeline.spec.name}.try", Preflight()).provenance
    for letter in settlement.dead_letters:
        typer.echo(briefly(stored(letter, about)), err=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _wait(seconds: float, reason: str) -> None:
    """Wait before the next attempt, and say why."""
    typer.echo(f"waiting {seconds:.1f} s: {reason}", err=True)
    time.sleep(seconds)
