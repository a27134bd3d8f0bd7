"""`kafka-etl dlq list`: dead letters by kind, from the local index."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import islice
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption, source_of
from kafka_etl.cli.dlq.filters import StatusChoice, StatusOption, opened_index, parse_where
from kafka_etl.cli.dlq.finding import (
    GivenOrFiles,
    LetterSource,
    LetterTopic,
    find_source,
    tasks_of,
)
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.terminal import columns

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.dead_letters.statuses import LetterStatus
    from kafka_etl.dlq.index import Index, Kind
    from kafka_etl.dlq.where import Where

_SHOWN: Final = 20


class Format(StrEnum):
    """How the answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def list_letters(  # noqa: PLR0913 - one parameter per option
    given: GivenOrFiles,
    *,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="EXPRESSION",
            help="Letters that match, such as error.type == 'KeyError'",
        ),
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", metavar="F", help="Letters of one kind.")
    ] = None,
    status: StatusOption = StatusChoice.OPEN,
    each: Annotated[
        bool, typer.Option("--each", help="The letters themselves, one per line.")
    ] = False,
    form: Annotated[
        Format, typer.Option("--format", help="json: one object a line.")
    ] = Format.TABLE,
    count: Annotated[
        int | None,
        typer.Option("-n", min=1, help=f"How many at most; default of the table: {_SHOWN}."),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Rebuild the local index from the topic.")
    ] = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """List the kinds of dead letters, the most frequent first; change nothing.

    Example: kafka-etl dlq list pipeline.yaml --where "time > '2h ago' and value.amount > 100"
    """
    from kafka_etl.dead_letters.statuses import LetterStatus

    test = parse_where(where)
    found = find_source(given, kafka, pipeline, parse_sets(sets))
    wanted = status.wanted
    limit = _SHOWN if count is None and form is Format.TABLE else count
    with opened_index(found, rebuild=rebuild) as index:
        if each:
            _list_each(index, test, fingerprint, wanted, form, limit)
        else:
            kinds = _list_kinds(index, test, fingerprint, wanted, form, limit)
            if form is Format.TABLE and kinds:
                _tell_next(found, given, kinds[0])
            if form is Format.TABLE and test is None and fingerprint is None:
                _tell_share_of_read(index, found, given)
        if wanted is LetterStatus.REPLAYING and form is Format.TABLE:
            typer.echo(f"Their replays: kafka-etl dlq actions {quote(given)}", err=True)
        if test is not None and test.unfit:
            said = f"{test.unfit:,} letters have no such field, or one of another type: left out"
            typer.echo(said, err=True)
        if index.strangers:
            said = f"{index.strangers:,} records of {found.topic} are no dead letters, and left out"
            typer.echo(said, err=True)


def _list_each(  # noqa: PLR0913, PLR0917 - the selection, and how it is shown
    index: Index,
    where: Where | None,
    fingerprint: str | None,
    status: LetterStatus | None,
    form: Format,
    limit: int | None,
) -> None:
    from kafka_etl.cli.dlq.kind_table import letter_fields, letter_line

    rows = index.letters(where, fingerprint, status)
    shown = islice(rows, limit)
    if form is not Format.TABLE:
        _write(form, (letter_fields(row, index.topic) for row in shown))
        return
    width, number = columns(), 0
    for row in shown:
        number += 1
        typer.echo(letter_line(row, index.topic, width))
    if number == 0:
        typer.echo(f"{index.topic} has no such dead letters", err=True)
    elif number == limit and next(rows, None) is not None:
        typer.echo(f"There are more: -n shows more than {limit}.", err=True)


def _list_kinds(  # noqa: PLR0913, PLR0917 - the selection, and how it is shown
    index: Index,
    where: Where | None,
    fingerprint: str | None,
    status: LetterStatus | None,
    form: Format,
    limit: int | None,
) -> list[Kind]:
    from kafka_etl.cli.dlq.kind_table import kind_fields, table
    from kafka_etl.readable import counted

    kinds = index.kinds(where, fingerprint, status)
    total = sum(kind.letters for kind in kinds)
    shown = kinds[:limit]
    if form is not Format.TABLE:
        _write(form, (kind_fields(kind, total, index.topic) for kind in shown))
        return kinds
    state = "" if status is None else f"{status} "
    if not kinds:
        typer.echo(f"{index.topic} has no {state}dead letters that fit", err=True)
        return kinds
    letters = counted(total, f"{state}dead letter")
    typer.echo(f"{index.topic}: {letters} of {counted(len(kinds), 'kind')}")
    for line in table(shown, total, index.topic, columns()):
        typer.echo(line)
    if len(shown) < len(kinds):
        typer.echo(f"{counted(len(kinds) - len(shown), 'more kind')}: -n {len(kinds)}", err=True)
    return kinds


def _tell_next(found: LetterSource, given: str, first: Kind) -> None:
    """Tell what to do with the commonest kind."""
    from kafka_etl.cli.dlq.kind_table import place_of

    one = f"{quote(given)} {quote(place_of(first.example, found.topic))}"
    typer.echo(f"\nAll about one: kafka-etl dlq show {one}", err=True)
    tasks = tasks_of(found, given)
    if tasks is not None:
        typer.echo(tasks.advice, err=True)
    elif isinstance(found, LetterTopic):
        kind = f"{quote(given)} --fingerprint {quote(first.fingerprint)}"
        typer.echo(f"Put a kind back: kafka-etl dlq replay {kind} --dry-run", err=True)
    else:
        typer.echo(f"Into a topic: kafka-etl dlq import {quote(given)} -t TOPIC", err=True)


def _tell_share_of_read(index: Index, found: LetterSource, given: str) -> None:
    """Tell the share of dead letters in the records that the pipeline's group has read."""
    from kafka_etl.record import Partition

    if not isinstance(found, LetterTopic):
        return
    cluster = found.cluster
    if cluster.spec is None or cluster.spec.source.use != "kafka":
        return
    name, settings = source_of(cluster, given)
    group = settings.group or name
    at = found.admin.all_committed(group)
    read = letters = 0
    for topic, number, oldest, count in index.sources():
        committed = at.get(Partition(topic, number))
        if committed is not None and committed.offset > oldest:
            read += committed.offset - oldest
            letters += count
    if read:
        typer.echo(
            f"\n{letters:,} dead letters, of any status, are {letters / read:.2%} of the {read:,} "
            f"records that group {group} has read since the oldest of these.",
            err=True,
        )


def _write(form: Format, rows: Iterable[dict[str, Any]]) -> None:
    from kafka_etl.cli.dlq.kind_table import csv_lines, json_lines

    for line in json_lines(rows) if form is Format.JSON else csv_lines(rows):
        typer.echo(line)
