"""`kafka-etl dlq import`: dead letters of a file back into a dead-letter topic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kafka_etl.cli.cluster import Cluster, KafkaOption, PipelineOption, find_cluster
from kafka_etl.cli.dlq.bulk import tell
from kafka_etl.cli.dlq.filters import told
from kafka_etl.cli.dlq.finding import LetterTopic, find_topic

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.dead_letters import Place
    from kafka_etl.dlq.exchange import LetterLine
    from kafka_etl.envelope import Encoded

_DEFAULT_LIMIT: Final = 1_048_588
_NAMED: Final = 3


def import_letters(  # noqa: PLR0913 - one parameter per option
    file: Annotated[
        Path,
        typer.Argument(help="JSON lines or Parquet, as `dlq export` or sinks write; or a folder."),
    ],
    *,
    topic: Annotated[
        str, typer.Option("-t", "--topic", metavar="TOPIC", help="A dead-letter topic.")
    ],
    create: Annotated[
        bool, typer.Option("--create", help="Create the topic if it is missing.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Even if the topic has dead letters of the same records."),
    ] = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
) -> None:
    """Write the dead letters of a file into a topic: all of them, or none.

    Key, value and headers are the same bytes as before the export; a row that was removed from the
    file is not written. Their timestamp is the time of the import, so that retention keeps the
    letters.

    Example: kafka-etl dlq import letters.jsonl -t orders.dlq
    """
    from kafka_etl.kafka.transactions.letter_writer import write_letters

    if create:
        _create(find_cluster(kafka, pipeline, {}), topic)
    found = find_topic(topic, kafka, pipeline, {}, letters=topic)
    sources = _sources_in(file)
    if not sources:
        tell(f"{file} has no dead letters")
        return
    if not again:
        _refuse_known(found, sources)
    cluster = found.cluster
    letters = told(_letters(file, len(found.ranges)), "letters sent")
    count = write_letters(cluster.producer, topic, _limit_of(found), letters)
    tell(f"{topic} has {count:,} dead letters more")


def _create(cluster: Cluster, topic: str) -> None:
    """Create the topic if it is missing, with one partition."""
    from kafka_etl.kafka.cluster.admin import reached

    admin = reached(cluster.admin)
    if topic not in admin.topics([topic], "WRITE"):
        admin.create_topic(topic, 1, None, {})
        tell(f"created topic {topic} with 1 partition")


def _lines(file: Path) -> Iterator[tuple[str, LetterLine | str]]:
    from kafka_etl.dlq.exchange import lines_in

    try:
        yield from lines_in(file)
    except OSError as error:
        said = error.strerror or str(error)
        raise typer.BadParameter(f"{file}: {said}", param_hint="FILE") from error
    except ValueError as error:  # of pyarrow
        raise typer.BadParameter(f"{file}: {error}", param_hint="FILE") from error


def _sources_in(file: Path) -> set[Place]:
    """Check all lines, and return the places of their records; a place not known is the letter's.

    Raises:
        RecordsNotSent: Some lines are no dead letters.
    """
    from kafka_etl.dead_letters import Place
    from kafka_etl.errors import RecordsNotSent

    sources: set[Place] = set()
    bad: list[str] = []
    wrong = 0
    for place, line in told(_lines(file), "letters checked"):
        if not isinstance(line, str):
            sources.add(Place(line.source_topic, line.source_partition, line.source_offset))
            continue
        wrong += 1
        if len(bad) < _NAMED:
            bad.append(f"{place}: {line}")
    if wrong:
        more = f"; and {wrong - len(bad):,} more" if wrong > len(bad) else ""
        raise RecordsNotSent(
            f"{file} has lines that are no dead letters: {'; '.join(bad)}{more}",
            "Nothing was written. Correct these lines, or remove them.",
        )
    return sources


def _refuse_known(found: LetterTopic, sources: set[Place]) -> None:
    """Refuse the import if the topic has dead letters of one of these records.

    Raises:
        RecordsNotSent: The topic has some.
    """
    from kafka_etl.errors import RecordsNotSent

    known: list[Any] = [
        letter.at
        for letter in told(found.letters(), "letters of the topic compared")
        if letter.source.topic and letter.source in sources
    ]
    if known:
        examples = ", ".join(at.id for at in known[:_NAMED])
        more = f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else ""
        raise RecordsNotSent(
            f"{found.topic} has dead letters of the same records already: {examples}{more}",
            "Nothing was written. With `--again` the topic has both.",
        )


def _letters(file: Path, partitions: int) -> Iterator[tuple[int, Encoded]]:
    for place, line in _lines(file):
        if isinstance(line, str):  # the file was changed since it was checked
            raise typer.BadParameter(f"{file}: {place}: {line}", param_hint="FILE")
        yield line.partition % partitions, line.encoded()


def _limit_of(found: LetterTopic) -> int:
    limits = found.admin.settings_of([found.topic]).get(found.topic, {})
    return int(limits.get("max.message.bytes", _DEFAULT_LIMIT))
