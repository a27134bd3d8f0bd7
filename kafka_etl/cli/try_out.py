"""`kafka-etl try`: runs a pipeline's operators on some real records, and writes no outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kafka_etl.cli.cluster import Cluster, KafkaOption, find_cluster, source_of
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.trial import RealClock, print_dead_letters, print_outputs

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.record import SourceRecord


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
    from kafka_etl.cli.run import read_operators
    from kafka_etl.trial.run import built_for_trial, run_trial

    overrides = parse_sets(sets)
    cluster = find_cluster(kafka, path, overrides)
    records = _read(cluster, path, begin, count)
    if not records:
        typer.echo("the source's topics have no records", err=True)
        return
    document = read_operators(path, overrides)
    with built_for_trial(document) as pipeline:
        trial = run_trial(pipeline, records, RealClock())
    outputs, letters = trial.settlement.outputs, trial.settlement.dead_letters
    print_outputs(outputs, pipeline.sink_settings.topics, json=json)
    print_dead_letters(pipeline, letters)
    typer.echo(
        f"{len(records):,} records in, {len(outputs):,} out, {trial.dropped:,} dropped, "
        f"{len(letters):,} dead letters. Nothing was written.",
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
