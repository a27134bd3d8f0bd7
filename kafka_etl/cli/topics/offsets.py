"""`kafka-etl offsets show|reset`: shows and sets the committed offsets of a group."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption, find_cluster, is_file
from kafka_etl.cli.groups import Command, group
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.topics.stored_offsets import Keeper, as_kept, keeper_of, place

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.kafka.cluster.admin import Admin
    from kafka_etl.kafka.cluster.offsets import Change, Standing
    from kafka_etl.record import Partition

app = group("Offsets of a pipeline's consumer group.")

Where = Annotated[
    str, typer.Argument(metavar="FILE|GROUP", help="A pipeline file, or a consumer group.")
]
Topics = Annotated[
    list[str],
    typer.Option("--topic", metavar="TOPIC[:PARTITION]", help="Only this one; may be repeated."),
]


class Group(NamedTuple):
    """A consumer group and its cluster.

    Attributes:
        admin: Admin client of the cluster.
        name: Name of the group.
        source: Partitions that the pipeline's source reads; empty: no pipeline file was given.
    """

    admin: Admin
    name: str
    source: Sequence[Partition]


@app.command(cls=Command)
def show(  # noqa: PLR0913 - one parameter per option
    where: Where,
    *,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    topics: Topics = [],  # noqa: B006 - typer reads it, nobody changes it
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Show a group's committed offsets and lag, by partition.

    Example: kafka-etl offsets show pipeline.yaml
    """
    import orjson

    from kafka_etl.kafka.cluster.offsets import standings

    group = _find_group(where, kafka, pipeline, parse_sets(sets))
    found = standings(group.admin, group.name, group.source, topics)
    with _keeper(where, group, parse_sets(sets)) as keeper:
        if keeper is not None:
            found = as_kept(keeper, found)
    if json:
        for standing in found:
            typer.echo(orjson.dumps(_as_data(group.name, standing)).decode())
        return
    rows = [("PARTITION", "COMMITTED", "BEGIN", "END", "LAG", "NOTE"), *map(_row, found)]
    for line in _table(rows):
        typer.echo(line)
    members = group.admin.members(group.name)
    typer.echo(f"group {group.name} has members now: {len(members)}", err=True)


@app.command(cls=Command)
def reset(  # noqa: PLR0913 - one parameter per option
    where: Where,
    *,
    to: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="earliest, latest, an offset, +N or -N records from where it stands, -1h, or a "
            "time such as 2026-05-17T08:00:00Z.",
        ),
    ],
    topics: Topics = [],  # noqa: B006 - typer reads it, nobody changes it
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Set the offsets of a group without members; show the changes first.

    Example: kafka-etl offsets reset pipeline.yaml --to -1h --topic orders:3
    """
    from datetime import UTC, datetime

    from kafka_etl.kafka.cluster.offsets import (
        parse_target,
        planned,
        require_empty,
        set_offsets,
        standings,
    )

    target = parse_target(to, datetime.now(UTC))
    group = _find_group(where, kafka, pipeline, parse_sets(sets))
    found = standings(group.admin, group.name, group.source, topics)
    with _keeper(where, group, parse_sets(sets)) as keeper:
        if keeper is not None:
            found = as_kept(keeper, found)
        partitions = [standing.partition for standing in found]
        by_time = group.admin.at_time(partitions, target.number) if target.kind == "time" else {}
        changes = planned(found, target, by_time)
        for line in _table([("PARTITION", "FROM", "TO", ""), *map(_change_row, changes)]):
            typer.echo(line)
        require_empty(group.admin, group.name)
        if not yes and not _agreed():
            typer.echo("Nothing was changed. With --yes, it is.", err=True)
            return
        if keeper is not None:
            place(keeper, changes)
        set_offsets(group.admin, group.name, changes)
    typer.echo(f"group {group.name} goes on there: {len(changes)} offsets are set", err=True)


def _find_group(
    where: str, kafka: str | None, pipeline: Path | None, overrides: dict[str, str]
) -> Group:
    from kafka_etl.cli.cluster import source_of
    from kafka_etl.kafka.cluster.admin import reached
    from kafka_etl.kafka.cluster.offsets import partitions_of_source

    if not is_file(where):
        return Group(reached(find_cluster(kafka, pipeline, overrides).admin), where, ())
    cluster = find_cluster(kafka, Path(where), overrides)
    name, source = source_of(cluster, where)
    admin = reached(cluster.admin)
    return Group(admin, source.group or name, partitions_of_source(admin, source))


def _keeper(
    where: str, group: Group, overrides: dict[str, str]
) -> AbstractContextManager[Keeper | None]:
    """The store that keeps the offsets of a pipeline file; None: the group does."""
    if not is_file(where):
        return nullcontext()
    topics = {partition.topic for partition in group.source}
    return keeper_of(Path(where), overrides, group.admin, topics)


def _agreed() -> bool:
    return sys.stdin.isatty() and typer.confirm("Set these offsets?", err=True)


def _as_data(group: str, standing: Standing) -> dict[str, object]:
    committed = standing.committed
    return {
        "group": group,
        "topic": standing.partition.topic,
        "partition": standing.partition.number,
        "committed": None if committed is None else committed.offset,
        "begin": standing.begin,
        "end": standing.end,
        "lag": standing.lag,
        "note": standing.note,
    }


def _row(standing: Standing) -> tuple[str, ...]:
    committed = standing.committed
    return (
        str(standing.partition),
        "-" if committed is None else str(committed.offset),
        str(standing.begin),
        str(standing.end),
        "-" if standing.lag is None else str(standing.lag),
        standing.note,
    )


def _change_row(change: Change) -> tuple[str, ...]:
    old = "-" if change.old is None else str(change.old)
    return str(change.partition), old, str(change.new), change.effect


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align rows as columns: the first and the last to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
            + [row[-1]]
        ).rstrip()
        for row in rows
    ]
