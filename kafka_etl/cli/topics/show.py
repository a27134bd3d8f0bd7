"""`kafka-etl show`: prints records of a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption, find_cluster

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.kafka.cluster.admin import Admin
    from kafka_etl.record import Partition

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.")]


def show(  # noqa: PLR0913 - one parameter per option
    topic: Topic,
    *,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many records.")] = 10,
    begin: Annotated[
        Literal["earliest", "end"], typer.Option("--from", help="The first ones, or the last.")
    ] = "end",
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    offset: Annotated[
        int | None,
        typer.Option(min=0, help="Begin here; of a topic with one partition, or with --partition."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show committed records of a topic; joins no group, writes nothing.

    Example: kafka-etl show orders -n 3 --from earliest
    """
    from kafka_etl.kafka.cluster.admin import reached
    from kafka_etl.kafka.cluster.topics import first_records, last_records, whole
    from kafka_etl.readable import as_json, as_text

    cluster = find_cluster(kafka, pipeline)
    admin = reached(cluster.admin)
    ranges = whole(admin, _partitions(admin, topic, partition, offset))
    if offset is not None:
        ranges = {tp: (max(begin_at, offset), end) for tp, (begin_at, end) in ranges.items()}
    read = first_records if begin == "earliest" or offset is not None else last_records
    records = read(cluster.consumer, ranges, count)
    for record in records:
        typer.echo(as_json(record) if json else as_text(record))
    if not records:
        spans = ", ".join(f"{tp} has offsets {a} to {b}" for tp, (a, b) in ranges.items())
        typer.echo(f"no records: {spans}", err=True)


def _partitions(
    admin: Admin, topic: str, partition: int | None, offset: int | None
) -> list[Partition]:
    from kafka_etl.kafka.cluster.topics import existing_partitions

    partitions = existing_partitions(admin, topic)
    if partition is None:
        if offset is not None and len(partitions) > 1:
            raise typer.BadParameter(
                f"{topic} has {len(partitions)} partitions: add --partition", param_hint="--offset"
            )
        return partitions
    if partition >= len(partitions):
        raise typer.BadParameter(
            f"{topic} has partitions 0 to {len(partitions) - 1}", param_hint="--partition"
        )
    return [partitions[partition]]
