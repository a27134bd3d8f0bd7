"""`kafka-etl dlq show`: shows the newest dead letters, or everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption, is_file
from kafka_etl.cli.dlq.filters import StatusChoice, StatusOption, opened_index
from kafka_etl.cli.dlq.finding import (
    GivenOrFiles,
    LetterSource,
    LetterTopic,
    find_source,
    parse_id,
)
from kafka_etl.cli.dlq.forms import Form
from kafka_etl.cli.options import Sets, parse_sets

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.cli.dlq.finding import LetterFolder
    from kafka_etl.cli.dlq.one import Everything
    from kafka_etl.contracts import Codec
    from kafka_etl.dead_letters import StoredLetter
    from kafka_etl.dead_letters.statuses import BulkAction, Status
    from kafka_etl.dlq.rows import LetterRow
    from kafka_etl.dlq.source_records import Neighbours


def show(  # noqa: PLR0913 - one parameter per option
    where: GivenOrFiles,
    letter: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="TOPIC/PARTITION/OFFSET of a dead letter, or of the record that failed, or the "
            "end of it: then everything about it.",
        ),
    ] = None,
    *,
    form: Annotated[
        Form | None,
        typer.Option("--as", help="How to show key and value; default: whatever fits best."),
    ] = None,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    status: StatusOption = StatusChoice.OPEN,
    count: Annotated[int, typer.Option("-n", min=1, help="How many dead letters.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Show everything about one dead letter, or the newest open ones in brief; change nothing.

    With a pipeline file, Avro and similar values are decoded as in the pipeline.

    Example: kafka-etl dlq show pipeline.yaml orders/1/421
    """
    wanted = None if letter is None else parse_id(letter)
    overrides = parse_sets(sets)
    topic = find_source(where, kafka, pipeline, overrides)
    if wanted is None:
        newest = _show_newest(topic, count, status, json=json)
        if newest is not None and not json:
            all_kinds = f"All kinds: kafka-etl dlq list {quote(where)}"
            all_about_one = f"All about one: kafka-etl dlq show {quote(where)} {newest.at.id}"
            typer.echo(f"\n{all_kinds}\n{all_about_one}", err=True)
        return
    file = Path(where) if isinstance(topic, LetterTopic) and is_file(where) else pipeline
    found = topic.find(wanted)
    every = _everything(topic, found, form, _codecs(file, overrides, form))
    from kafka_etl.cli.dlq.one import as_json, as_text

    typer.echo(as_json(every) if json else as_text(every))


def _show_newest(
    topic: LetterTopic | LetterFolder, count: int, status: StatusChoice, *, json: bool
) -> StoredLetter | None:
    """Show the newest dead letters of a status; return the newest one, or None if there is none."""
    from kafka_etl.cli.dlq.rendering import as_json, brief

    with opened_index(topic) as index:
        rows = index.newest(count, status.wanted)
        others = index.strangers
    letters = _read(topic, rows)
    for letter, of_letter in letters:
        typer.echo(as_json(letter, of_letter) if json else brief(letter, of_letter))
    if others:
        typer.echo(f"{others} records there are no dead letters", err=True)
    if not rows:
        kind = "" if status.wanted is None else f"{status} "
        typer.echo(f"{topic.topic} has no {kind}dead letters", err=True)
    return letters[0][0] if letters else None


def _read(topic: LetterSource, rows: Sequence[LetterRow]) -> list[tuple[StoredLetter, str]]:
    """Read the letters of some rows of the index, in the order of the rows; each has its status."""
    from kafka_etl.dlq.index import runs_of
    from kafka_etl.record import Partition

    found = {
        (letter.at.partition, letter.at.offset): letter
        for run in runs_of(sorted(rows))
        for letter in topic.letters(
            {Partition(topic.topic, run[0].partition): (run[0].offset, run[-1].offset + 1)}
        )
    }
    return [(found[row.place], row.status) for row in rows if row.place in found]


def _everything(
    topic: LetterSource,
    found: Sequence[StoredLetter],
    form: Form | None,
    codecs: tuple[Codec | None, Codec | None],
) -> Everything:
    """Gather everything about the newest of the dead letters of one record."""
    from kafka_etl.cli.dlq.one import Everything
    from kafka_etl.cli.dlq.payload import payload_of

    letter = found[-1]
    value, key = codecs
    status, action = _status_of(topic, letter)
    return Everything(
        letter=letter,
        key=payload_of(letter.key, letter.headers, form, key),
        value=payload_of(letter.value, letter.headers, form, value),
        status=status,
        action=action,
        neighbours=_neighbours_of(topic, letter),
        earlier=[before.at.id for before in found[:-1]],
    )


def _codecs(
    file: Path | None, overrides: dict[str, str], form: Form | None
) -> tuple[Codec | None, Codec | None]:
    """Build the codecs of the pipeline's source, for values and keys, if there is a pipeline.

    Raises:
        typer.BadParameter: Avro is wanted, and no pipeline says how to read it.
    """
    from kafka_etl.cli.daemon.run import read_operators
    from kafka_etl.config.build import build_source_codecs
    from kafka_etl.errors import KafkaEtlError
    from kafka_etl.plugins import PluginRegistry

    value: Codec | None = None
    key: Codec | None = None
    if file is not None:
        document = read_operators(file, overrides)
        try:
            value, key = build_source_codecs(document, PluginRegistry.installed())
        except KafkaEtlError as error:  # the letter is still worth a look
            typer.echo(f"key and value are not decoded: {error.what}", err=True)
    if form is Form.AVRO and not any(c is not None and c.name == "avro" for c in (value, key)):
        raise typer.BadParameter(
            "needs the file of a pipeline whose source has `value: avro` or `key: avro`",
            param_hint="--as avro",
        )
    return value, key


def _status_of(
    topic: LetterSource, letter: StoredLetter
) -> tuple[Status | None, BulkAction | None]:
    """Read what became of a dead letter, and by whom; (None, None): it is open."""
    from kafka_etl.dead_letters.statuses import LetterPlace
    from kafka_etl.dlq.status_topic import StatusTopic

    if not isinstance(topic, LetterTopic):
        return None, None
    cluster = topic.cluster
    statuses = StatusTopic(topic.admin, cluster.consumer, cluster.producer, topic.topic).read()
    status = statuses.letters.get(LetterPlace(letter.at.partition, letter.at.offset))
    return status, None if status is None else statuses.actions.get(status.action)


def _neighbours_of(topic: LetterSource, letter: StoredLetter) -> Neighbours | str:
    """Read the records around the one that failed; a text says why that cannot be."""
    from kafka_etl.dlq.source_records import neighbours_of
    from kafka_etl.errors import BrokersUnreachable, KafkaEtlError

    if not isinstance(topic, LetterTopic):
        return "not looked at: the dead letter is in a file"
    if not letter.source.topic or letter.source.offset < 0:
        return "the place of the record is not known"
    try:
        return neighbours_of(letter.source, topic.cluster.admin, topic.cluster.consumer)
    except BrokersUnreachable:
        raise
    except KafkaEtlError as error:
        return error.what
