"""`kafka-etl dlq show`: shows dead letters and their causes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from kafka_etl.cli.cluster import Cluster, KafkaOption, PipelineOption, find_cluster, is_file
from kafka_etl.cli.options import Sets, parse_sets

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.dead_letters import StoredLetter
    from kafka_etl.kafka.topics import Ranges

_SUMMED_UP: Final = 20_000
"""The most offsets, at the end of the topic's partitions, that the summary covers."""
_SLASHES: Final = re.compile(r"(?:(?P<topic>[A-Za-z0-9._-]+)/)?(?P<partition>\d+)/(?P<offset>\d+)")
_BRACKETS: Final = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)\[(?P<partition>\d+)\]@(?P<offset>\d+)")


def show(  # noqa: PLR0913 - one parameter per option
    where: Annotated[
        str, typer.Argument(metavar="FILE|TOPIC", help="A pipeline file, or a dead-letter topic.")
    ],
    letter: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="TOPIC/PARTITION/OFFSET of a dead letter, or of the record that failed: then "
            "everything about it.",
        ),
    ] = None,
    *,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many dead letters.")] = 10,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Show the newest dead letters and a summary by cause; changes nothing.

    Example: kafka-etl dlq show pipeline.yaml -n 3
    """
    from kafka_etl.kafka.admin import reached
    from kafka_etl.kafka.topics import existing_partitions, whole

    wanted = None if letter is None else parse_id(letter)
    cluster, topic = find_topic(where, kafka, pipeline, parse_sets(sets))
    admin = reached(cluster.admin)
    none_yet = "It is created when the pipeline starts."
    ranges = whole(admin, existing_partitions(admin, topic, none_yet))
    if wanted is None:
        newest = _show_newest(cluster, topic, ranges, count, json=json)
        if newest is not None and not json:
            said = f"\nAll about one: kafka-etl dlq show {quote(where)} {newest.at.id}"
            typer.echo(said, err=True)
    else:
        _show_one(cluster, topic, ranges, wanted, json=json)


class Wanted(NamedTuple):
    """The ID of a dead letter, or of the record that failed, as the user gave it.

    Attributes:
        topic: Topic of the dead letter or the record; None: the user gave no topic.
        partition: Number of the partition.
        offset: Offset in the partition.
    """

    topic: str | None
    partition: int
    offset: int

    def __str__(self) -> str:
        place = f"{self.partition}/{self.offset}"
        return place if self.topic is None else f"{self.topic}/{place}"

    def names(self, letter: StoredLetter) -> bool:
        """Whether the ID names this dead letter, or the record that failed."""
        return any(
            (place.partition, place.offset) == (self.partition, self.offset)
            and self.topic in {None, place.topic}
            for place in (letter.at, letter.source)
        )


def parse_id(text: str) -> Wanted:
    """Parse an ID: `orders.dlq/2/17`, `orders[1]@421`, or `2/17`.

    Raises:
        typer.BadParameter: The text is no ID.
    """
    found = _SLASHES.fullmatch(text) or _BRACKETS.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"`{text}` is not TOPIC/PARTITION/OFFSET", param_hint="ID")
    return Wanted(found["topic"], int(found["partition"]), int(found["offset"]))


def find_topic(
    where: str, kafka: str | None, pipeline: Path | None, overrides: dict[str, str]
) -> tuple[Cluster, str]:
    from kafka_etl.errors import NoSuchLetter

    if not is_file(where):
        return find_cluster(kafka, pipeline, overrides), where
    cluster = find_cluster(kafka, Path(where), overrides)
    letters = cluster.spec.dead_letter if cluster.spec is not None else None
    if letters is None:
        raise NoSuchLetter(
            f"the pipeline of {where} has no dead-letter topic: it stops where a record fails",
            "Add `dead_letter: {topic: NAME}` to it.",
        )
    if letters.topic is None:
        place = f"table {letters.table}" if letters.table else f"sink {letters.use}"
        raise NoSuchLetter(
            f"the dead letters of {where} are in {place}, which this command does not read",
            "Look at them there.",
        )
    return cluster, letters.topic


def _show_newest(
    cluster: Cluster, topic: str, ranges: Ranges, count: int, *, json: bool
) -> StoredLetter | None:
    """Show the newest dead letters; return the newest one, or None if there is none."""
    from kafka_etl.cli.dlq.rendering import as_json, brief, shown_kinds, summed_up
    from kafka_etl.dead_letters import decode_letter
    from kafka_etl.kafka.topics import last_records

    newest = last_records(cluster.consumer, ranges, count)
    letters = [letter for r in reversed(newest) if (letter := decode_letter(r)) is not None]
    if json:
        for letter in letters:
            typer.echo(as_json(letter))
    elif letters:
        window, whole = _window(ranges)
        kinds = summed_up(_letters(cluster, window))
        total = sum(kind.count for kind in kinds)
        typer.echo(f"{topic}: {total:,} dead letters{'' if whole else ', the newest'}, by cause:")
        typer.echo(shown_kinds(kinds))
        typer.echo(f"\nThe newest {len(letters)}:" if len(letters) < total else "\nThese are:")
        for letter in letters:
            typer.echo(brief(letter))
    if len(letters) < len(newest):
        typer.echo(f"{len(newest) - len(letters)} records there are no dead letters", err=True)
    if not newest:
        typer.echo(f"{topic} has no dead letters", err=True)
    return letters[0] if letters else None


def _window(ranges: Ranges) -> tuple[Ranges, bool]:
    """Return the ranges that the summary covers, and whether they cover the whole topic."""
    each = max(1, _SUMMED_UP // max(1, len(ranges)))
    window = {tp: (max(begin, end - each), end) for tp, (begin, end) in ranges.items()}
    return window, window == ranges


def _letters(cluster: Cluster, ranges: Ranges) -> Iterator[StoredLetter]:
    from kafka_etl.dead_letters import decode_letter
    from kafka_etl.kafka.topics import read_ranges

    for record in read_ranges(cluster.consumer, ranges):
        letter = decode_letter(record)
        if letter is not None:
            yield letter


def _show_one(cluster: Cluster, topic: str, ranges: Ranges, wanted: Wanted, *, json: bool) -> None:
    from kafka_etl.cli.dlq.rendering import as_json, full
    from kafka_etl.errors import NoSuchLetter

    found = sorted(_find(cluster, topic, ranges, wanted), key=lambda letter: letter.written_ms)
    if not found:
        raise NoSuchLetter(f"{topic} has no dead letter {wanted}, nor one of a record {wanted}")
    sources: set[Any] = {letter.source for letter in found}
    if len(sources) > 1:
        ids = ", ".join(letter.at.id for letter in found)
        raise NoSuchLetter(f"{wanted} may be any of {ids}", "Name one of these.")
    typer.echo(as_json(found[-1]) if json else full(found[-1]))
    if len(found) > 1:
        others = ", ".join(letter.at.id for letter in found[:-1])
        typer.echo(f"It failed before: {others}", err=True)


def _find(cluster: Cluster, topic: str, ranges: Ranges, wanted: Wanted) -> list[StoredLetter]:
    """Return the dead letters that the ID may name.

    An ID in the dead-letter topic is read directly; for any other ID, the whole topic is searched.
    """
    from kafka_etl.record import Partition

    if wanted.topic == topic:
        place = Partition(topic, wanted.partition)
        begin, end = ranges.get(place, (0, 0))
        if not begin <= wanted.offset < end:
            return []
        only = {place: (wanted.offset, wanted.offset + 1)}
        return list(_letters(cluster, only))
    return [letter for letter in _letters(cluster, ranges) if wanted.names(letter)]
