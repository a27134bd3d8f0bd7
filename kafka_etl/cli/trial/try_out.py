"""`kafka-etl try`: runs operators on some records, shows what comes of them, and writes nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafka_etl.cli.cluster import KafkaOption, find_cluster, is_file, source_of
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.trial.rendering import (
    RealClock,
    print_dead_letters,
    print_dropped,
    print_outputs,
)

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.config.document import Document
    from kafka_etl.engine.attempt.chain import Chain
    from kafka_etl.record import SourceRecord

_COUNT: Final = 10
_TOPIC: Final = "in"


def try_out(  # noqa: PLR0913 - one parameter per option
    target: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE|OPERATOR", help="A pipeline file, module:function, or a plug-in."
        ),
    ],
    *,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE|-", help="Records: one value per line."),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option("--records", help="Lines of -f are records, as `show --json` prints them."),
    ] = False,
    count: Annotated[
        int | None,
        typer.Option(
            "--from-kafka",
            metavar="N",
            min=1,
            max=10_000,
            help=f"The last N records of the source's topics; the default, with N = {_COUNT}.",
        ),
    ] = None,
    earliest: Annotated[
        bool, typer.Option("--earliest", help="The first N records instead of the last.")
    ] = False,
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Of --from-kafka, for an operator.")
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--with", metavar="KEY=VALUE", help="A setting of an operator.")
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    json: Annotated[
        bool, typer.Option("--json", help="Outputs and dead letters as JSON, with all parts.")
    ] = False,
    repeat: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Run the records this many times, and report the time."
        ),
    ] = None,
    kafka: KafkaOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Run operators on records: show outputs, drops and dead letters; write nothing.

    Outputs go to standard output, everything else to standard error. The command joins no group,
    commits no offset and registers no schema. All operators run in this process, also those with
    `isolation`; their own side effects, such as requests to a service, do take place.

    Example: kafka-etl try shop:to_eur -f orders.jsonl --with rate=0.92
    """
    from kafka_etl.trial.one_operator import to_any_topic
    from kafka_etl.trial.run import built_for_trial, run_trial

    if file is not None and (count is not None or earliest):
        raise typer.BadParameter("the records come from a file or from Kafka", param_hint="-f")
    overrides = parse_sets(sets)
    is_pipeline = is_file(target)
    if is_pipeline and (settings or topic is not None):
        raise typer.BadParameter(
            "--with and --topic are for an operator; a pipeline takes --set", param_hint="TARGET"
        )
    if is_pipeline:
        document = _document_of(Path(target), overrides)
    else:
        document = _document_with(target, parse_sets(settings), overrides, topic or _TOPIC)
    given: Sequence[SourceRecord] | None = None
    if file is None:
        given = _from_kafka(target, is_pipeline, topic, kafka, overrides, count or _COUNT, earliest)
    with built_for_trial(document) as pipeline:
        records = _from_file(file or "-", pipeline, whole=whole) if given is None else given
        if not records:
            typer.echo("there are no records", err=True)
            return
        changed = None if is_pipeline else to_any_topic
        trial = run_trial(pipeline, records, RealClock(), changed)
        rounds = _timed(pipeline, records, repeat, changed) if repeat else []
    outputs, letters = trial.settlement.outputs, trial.settlement.dead_letters
    print_outputs(outputs, pipeline.sink_settings.topics, json=json)
    print_dropped(trial)
    print_dead_letters(pipeline, letters, json=json)
    typer.echo(
        f"{len(records):,} records in, {len(outputs):,} out, {trial.dropped:,} dropped, "
        f"{len(letters):,} dead letters. Nothing was written.",
        err=True,
    )
    if rounds:
        typer.echo(_speed(rounds, len(records)), err=True)


def _document_of(path: Path, overrides: dict[str, str]) -> Document:
    from kafka_etl.cli.daemon.run import read_operators

    return read_operators(path, overrides)


def _document_with(
    operator: str, settings: dict[str, str], overrides: dict[str, str], topic: str
) -> Document:
    """Make a pipeline of one operator, whose module is looked for in the current folder.

    Raises:
        ConfigError: A setting is no YAML, or an override names no place.
    """
    from kafka_etl.config.load import override
    from kafka_etl.config.report import Finding, config_error
    from kafka_etl.trial.one_operator import document_with

    findings: list[Finding] = []
    given = {f"operators.0.with.{name}": value for name, value in settings.items()}
    made = override(document_with(operator, {}, topic=topic), given | overrides, findings)
    if findings:
        raise config_error(findings)
    return made


def _from_file(file: str, pipeline: Pipeline, *, whole: bool) -> list[SourceRecord]:
    """Read the records of a file, one a line."""
    from kafka_etl.config.case_model import GivenSpec
    from kafka_etl.trial.given import Unreadable, entries_in, record_of
    from kafka_etl.trial.payload import source_topic
    from kafka_etl.trial.stored_record import StoredRecord

    clock = RealClock()
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        if whole:
            entries = entries_in(text, GivenSpec, file)
            return [record_of(one, i, pipeline, Path(), clock) for i, one in enumerate(entries)]
    except (OSError, Unreadable) as error:
        reason = f"{file}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise typer.BadParameter(reason, param_hint="-f") from error
    topic, now = source_topic(pipeline), clock.now_ms()
    lines = text.splitlines()
    return [
        StoredRecord(line, timestamp_ms=now, topic=topic, offset=number)
        for number, line in enumerate(lines)
    ]


def _from_kafka(  # noqa: PLR0913, PLR0917 - the options that name records
    target: str,
    is_pipeline: bool,
    topic: str | None,
    kafka: str | None,
    overrides: dict[str, str],
    count: int,
    earliest: bool,
) -> Sequence[SourceRecord]:
    from kafka_etl.kafka.cluster.admin import reached
    from kafka_etl.kafka.cluster.offsets import partitions_of_source
    from kafka_etl.kafka.cluster.topics import first_records, last_records, whole
    from kafka_etl.kafka.settings import KafkaSourceSettings

    if is_pipeline:
        cluster = find_cluster(kafka, Path(target), overrides)
        _, source = source_of(cluster, target)
    elif topic is None:
        raise typer.BadParameter(
            "an operator has no topic: name a file, -f FILE, or --topic TOPIC", param_hint="TARGET"
        )
    else:
        cluster = find_cluster(kafka, None)
        source = KafkaSourceSettings(topics=(topic,))
    admin = reached(cluster.admin)
    ranges = whole(admin, partitions_of_source(admin, source))
    read = first_records if earliest else last_records
    return read(cluster.consumer, ranges, count)


def _timed(
    pipeline: Pipeline,
    records: Sequence[SourceRecord],
    rounds: int,
    changed: Callable[[Chain], Chain] | None,
) -> list[float]:
    """Return the seconds of each round; operators stay open, and retries wait for nothing."""
    from kafka_etl.trial.clock import FakeClock
    from kafka_etl.trial.run import opened

    seconds: list[float] = []
    with opened(pipeline, FakeClock(), changed) as run:
        for _ in range(rounds):
            began = time.perf_counter()
            run(records)
            seconds.append(time.perf_counter() - began)
    return seconds


def _speed(seconds: Sequence[float], records: int) -> str:
    from statistics import median

    best, middle = (1e6 * figure / records for figure in (min(seconds), median(seconds)))
    return (
        f"{len(seconds):,} rounds: {middle:,.1f} µs a record (median), {best:,.1f} µs at best, "
        f"{1e6 / middle:,.0f} records/s: decoding, operators and encoding, on one core."
    )
