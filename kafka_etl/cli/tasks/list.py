"""`kafka-etl tasks list`: the tasks of a pipeline, from the local index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.tasks.finding import (
    Given,
    WhereOption,
    find_pipeline,
    opened_index,
    parse_where,
)
from kafka_etl.cli.tasks.states import StateOption, parse_states
from kafka_etl.terminal import columns

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.task_history.index import Index
    from kafka_etl.task_history.rows import Task

_SHOWN: Final = 20


class Format(StrEnum):
    """How the answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def list_tasks(  # noqa: PLR0913 - one parameter per option
    given: Given,
    *,
    states: StateOption = [],  # noqa: B006 - typer reads it, nobody changes it
    where: WhereOption = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Those that changed since: 2h, or 2026-11-28T10:00."),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="json: one object a line.")
    ] = Format.TABLE,
    count: Annotated[
        int | None,
        typer.Option("-n", min=1, help=f"How many at most; default of the table: {_SHOWN}."),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Rebuild the local index from the journal.")
    ] = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """List tasks, the last changed first; change nothing. Needs no daemon.

    Example: kafka-etl tasks list transcode --state failed --where "error.type == 'OSError'"

    Objects of json, and columns of csv, have the fields id, state, outcome, generation, attempts,
    counted, submitted, changed, started, finished, due, by, source, size, executor, progress,
    progress_text, duplicates, error_type, error_message, reason, partition. Times are in UTC,
    progress is from 0 to 1, and missing values are null.
    """
    wanted, test, since_ms = parse_states(states), parse_where(where), _parse_since(since)
    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    with opened_index(found, rebuild=rebuild) as index:
        tasks = index.tasks(test, wanted, since_ms)
        if form is Format.TABLE:
            _show(found.name, index, tasks, count or _SHOWN)
        else:
            _write(form, islice(tasks, count))
        if not index.counts():
            typer.echo(f"Submit one: kafka-etl tasks submit {quote(given)} -d JSON", err=True)
    if test is not None and test.unfit:
        said = f"{test.unfit:,} tasks have no such field, or one of another type: left out"
        typer.echo(said, err=True)


def _parse_since(text: str | None) -> int:
    """A time in milliseconds since the epoch; of a duration, so long ago; 0: none was given."""
    from kafka_etl.task_history.filters import since_of

    try:
        return since_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def _show(name: str, index: Index, tasks: Iterator[Task], limit: int) -> None:
    from kafka_etl.cli.tasks.table import summary, table

    typer.echo(summary(name, index.counts()))
    shown = list(islice(tasks, limit))
    if not shown:
        if index.counts():
            typer.echo("None fits.", err=True)
        return
    for line in table(shown, columns()):
        typer.echo(line)
    if len(shown) == limit and next(tasks, None) is not None:
        typer.echo(f"There are more: -n shows more than {limit}.", err=True)


def _write(form: Format, tasks: Iterable[Task]) -> None:
    from kafka_etl.cli.dlq.kind_table import csv_lines, json_lines
    from kafka_etl.task_history.fields import fields

    rows = map(fields, tasks)
    for line in json_lines(rows) if form is Format.JSON else csv_lines(rows):
        typer.echo(line)
