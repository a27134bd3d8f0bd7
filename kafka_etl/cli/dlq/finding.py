"""Finds the dead letters of a command, in a topic or in files, and one of them by its ID."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from kafka_etl.cli.cluster import Cluster, accepts_tasks, find_cluster, has_journal, is_file

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.dead_letters import StoredLetter
    from kafka_etl.dlq.files import LetterFiles
    from kafka_etl.kafka.cluster.admin import Admin
    from kafka_etl.kafka.cluster.topics import Ranges
    from kafka_etl.record import SourceRecord

_NAME: Final = r"[^\s\[\]]+"
"""Characters of a topic, or of the path of a file."""
_NUMBER: Final = r"\d{1,18}"
_SLASHES: Final = re.compile(
    rf"(?:(?:(?P<topic>{_NAME})/)?(?P<partition>{_NUMBER})/)?(?P<offset>{_NUMBER})"
)
_BRACKETS: Final = re.compile(
    rf"(?P<topic>{_NAME})\[(?P<partition>{_NUMBER})\]@(?P<offset>{_NUMBER})"
)
_NAMED: Final = 5
"""The most dead letters that the error about an ambiguous ID names."""

Given = Annotated[
    str, typer.Argument(metavar="FILE|TOPIC", help="A pipeline file, or a dead-letter topic.")
]
GivenOrFiles = Annotated[
    str,
    typer.Argument(
        metavar="FILE|TOPIC",
        help="A pipeline file, a dead-letter topic, or a file or folder of JSON lines.",
    ),
]
LettersOption = Annotated[
    str | None, typer.Option("--letters", metavar="TOPIC", help="Default: the pipeline's own.")
]


class Wanted(NamedTuple):
    """The ID of a dead letter, or of the record that failed, as the user gave it.

    Attributes:
        topic: Topic of the dead letter or the record; None: the user gave no topic.
        partition: Number of the partition; None: the user gave none.
        offset: Offset in the partition.
    """

    topic: str | None
    partition: int | None
    offset: int

    def __str__(self) -> str:
        return "/".join(str(part) for part in self if part is not None)

    def names(self, letter: StoredLetter) -> bool:
        """Whether the ID names this dead letter, or the record that failed."""
        return any(
            place.offset == self.offset
            and self.partition in {None, place.partition}
            and self.topic in {None, place.topic}
            for place in (letter.at, letter.source)
        )


def parse_id(text: str) -> Wanted:
    """Parse an ID: `orders.dlq/2/17`, `orders[1]@421`, `2/17`, or `17`.

    Raises:
        typer.BadParameter: The text is no ID.
    """
    found = _SLASHES.fullmatch(text) or _BRACKETS.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"`{text}` is not TOPIC/PARTITION/OFFSET", param_hint="ID")
    partition = found["partition"]
    return Wanted(
        found["topic"], None if partition is None else int(partition), int(found["offset"])
    )


@dataclass(frozen=True, slots=True)
class LetterSource(ABC):
    """Where dead letters are.

    Attributes:
        topic: Name of the topic, or path of the files.
        ranges: Partitions of the topic, or the files, with their first offsets and their ends.
    """

    topic: str
    ranges: Ranges

    @abstractmethod
    def read(self, ranges: Ranges) -> Iterator[SourceRecord]:
        """The records of some ranges."""

    def letters(self, ranges: Ranges | None = None) -> Iterator[StoredLetter]:
        """The dead letters of some ranges, by default of all; other records are left out."""
        from kafka_etl.dead_letters.decode import decode_letter

        for record in self.read(self.ranges if ranges is None else ranges):
            letter = decode_letter(record)
            if letter is not None:
                yield letter

    def find(self, wanted: Wanted) -> list[StoredLetter]:
        """The dead letters of the one record that an ID names, the newest last.

        Raises:
            NoSuchLetter: The ID names none, or dead letters of several records.
        """
        from kafka_etl.errors import NoSuchLetter

        found = sorted(self._search(wanted), key=lambda letter: letter.written_ms)
        if not found:
            raise NoSuchLetter(
                f"{self.topic} has no dead letter {wanted}, nor one of a record {wanted}"
            )
        if len({letter.source if letter.source.topic else letter.at for letter in found}) > 1:
            ids = ", ".join(letter.at.id for letter in found[:_NAMED])
            more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
            raise NoSuchLetter(f"{wanted} may be any of {ids}{more}", "Name one of these.")
        return found

    def _search(self, wanted: Wanted) -> list[StoredLetter]:
        """The dead letters that the ID may name.

        A place in the topic itself is read directly. A record's dead letters are in the partition
        that the pipeline chooses for them; the whole topic is read where they are not there.
        """
        from kafka_etl.record import Partition

        if wanted.topic == self.topic and wanted.partition is not None:
            place = Partition(self.topic, wanted.partition)
            begin, end = self.ranges.get(place, (0, 0))
            if not begin <= wanted.offset < end:
                return []
            return list(self.letters({place: (wanted.offset, wanted.offset + 1)}))
        ranges = dict(self.ranges)
        if wanted.topic is not None and wanted.partition is not None:
            usual = Partition(self.topic, wanted.partition % len(ranges))
            found = self._named(wanted, {usual: ranges.pop(usual)})
            if found or not ranges:
                return found
        return self._named(wanted, ranges)

    def _named(self, wanted: Wanted, ranges: Ranges) -> list[StoredLetter]:
        return [letter for letter in self.letters(ranges) if wanted.names(letter)]


@dataclass(frozen=True, slots=True)
class LetterTopic(LetterSource):
    """A dead-letter topic.

    Attributes:
        cluster: Client settings of its cluster.
        admin: Admin client of the cluster, which every part of a command shares.
    """

    cluster: Cluster
    admin: Admin

    def read(self, ranges: Ranges) -> Iterator[SourceRecord]:
        from kafka_etl.kafka.cluster.topics import read_ranges

        return read_ranges(self.cluster.consumer, ranges)


@dataclass(frozen=True, slots=True)
class LetterFolder(LetterSource):
    """Dead letters in files of JSON lines; nobody keeps their statuses."""

    files: LetterFiles

    def read(self, ranges: Ranges) -> Iterator[SourceRecord]:
        from kafka_etl.dlq.exchange import as_letter

        return map(as_letter, self.files.read(ranges))


class LettersOfTasks(NamedTuple):
    """What dead letters of a task pipeline are, and what to do with them.

    Attributes:
        what: What the letters say, as the end of a sentence.
        advice: The command in place of a replay.
    """

    what: str
    advice: str


def tasks_of(found: LetterSource, given: str) -> LettersOfTasks | None:
    """What to do with dead letters of a task pipeline; None: they are those of another.

    Args:
        found: The dead letters.
        given: The pipeline file, or the topic, as the user has named it.
    """
    from kafka_etl.tasks.placing import undelivered_of

    if not isinstance(found, LetterTopic):
        return None
    spec, ending = found.cluster.spec, undelivered_of("")
    is_file = accepts_tasks(spec)
    name = found.topic.removesuffix(ending)
    is_undelivered = found.topic.endswith(ending) and (is_file or has_journal(found.admin, name))
    if not is_file and not is_undelivered:
        return None
    which = quote(given if is_file else name)
    if is_undelivered:
        return LettersOfTasks(
            f"the letters of {found.topic} say what a destination has refused",
            f"`kafka-etl tasks retry {which} ID --deliver` delivers the result once more, and runs "
            "nothing; or --where and --state in place of ID.",
        )
    return LettersOfTasks(
        "its dead letters say how tasks have ended",
        f"`kafka-etl tasks retry {which} ID` runs the task once more; or --where and --state in "
        "place of ID.",
    )


def find_source(
    where: str, kafka: str | None, pipeline: Path | None, overrides: dict[str, str]
) -> LetterTopic | LetterFolder:
    """Find the dead letters of a pipeline file, of a topic, or in files; see `find_topic`.

    Raises:
        NoSuchLetter: There are no such files, or the pipeline has no dead-letter topic.
    """
    if not _names_files(where):
        return find_topic(where, kafka, pipeline, overrides)
    from kafka_etl.dlq.files import LetterFiles

    files = LetterFiles(Path(where))
    return LetterFolder(files.name, files.ranges, files)


def _names_files(where: str) -> bool:
    """Whether an argument names files of JSON lines, rather than a pipeline or a topic."""
    from kafka_etl.dlq.files import files_in, is_letter_file

    path, is_path = Path(where), "/" in where  # which no topic has in its name
    if path.is_dir():
        pipelines = [*path.glob("*.yaml"), *path.glob("*.yml")]
        return not pipelines and (is_path or bool(files_in(path)))
    return is_letter_file(path) and (is_path or path.is_file())


def find_topic(
    where: str,
    kafka: str | None,
    pipeline: Path | None,
    overrides: dict[str, str],
    *,
    letters: str | None = None,
) -> LetterTopic:
    """Find the dead-letter topic of a pipeline file, or the topic of this name.

    Args:
        where: A pipeline file, or a topic.
        kafka: Bootstrap servers of the option `--kafka`.
        pipeline: Pipeline file with client settings, if `where` is a topic.
        overrides: Place in the pipeline file -> YAML text of its value.
        letters: Topic to take instead of the pipeline's own.

    Raises:
        NoSuchLetter: The pipeline has no dead-letter topic, or the letters are in files.
        TopicMissing: The topic does not exist.
    """
    from kafka_etl.errors import NoSuchLetter
    from kafka_etl.kafka.cluster.admin import reached
    from kafka_etl.kafka.cluster.topics import existing_partitions, whole

    if letters is None and _names_files(where):
        raise NoSuchLetter(
            f"{where} has dead letters in files, and their statuses are kept in Kafka only",
            f"Bring them into a topic: kafka-etl dlq import {quote(where)} -t TOPIC. Then name it "
            "instead, or as `--letters TOPIC` beside a pipeline file.",
        )
    own = Path(where) if is_file(where) else None
    cluster = find_cluster(kafka, own or pipeline, overrides)
    topic = letters or (_topic_of(cluster, where) if own else where)
    admin = reached(cluster.admin)
    missing = "A pipeline creates it when it starts." if own else "Correct its name."
    ranges = whole(admin, existing_partitions(admin, topic, missing))
    return LetterTopic(topic, ranges, cluster, admin)


def _topic_of(cluster: Cluster, file: str) -> str:
    from kafka_etl.errors import NoSuchLetter

    letters = cluster.spec.dead_letter if cluster.spec is not None else None
    if letters is None:
        raise NoSuchLetter(
            f"the pipeline of {file} has no dead-letter topic: it stops where a record fails",
            "Add `dead_letter: {topic: NAME}` to it.",
        )
    if letters.topic is None:
        raise NoSuchLetter(
            f"the dead letters of {file} are in {letters.place}, which this command does not read",
            "Look at them there. Files of JSON lines: kafka-etl dlq list FOLDER",
        )
    return letters.topic
