"""Bulk actions on dead letters: count first, show what would happen, confirm, then act.

An action is bound to what was previewed: its plan is a digest of the letters, of the filter in
words and of what is to happen to them.
"""

from __future__ import annotations

import getpass
import socket
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafka_etl.cli.cluster import Cluster
from kafka_etl.cli.dlq.show import find_topic, parse_id

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.dead_letters import StoredLetter
    from kafka_etl.dead_letters.statuses import LetterPlace, Statuses
    from kafka_etl.dlq.selection import Found, Selection
    from kafka_etl.dlq.status_topic import StatusTopic
    from kafka_etl.kafka.admin import Admin

_SAMPLE: Final = 5
_WITHOUT_ASKING: Final = 100
_KINDS: Final = 10

Ids = Annotated[
    list[str], typer.Argument(metavar="[ID]...", help="IDs of dead letters, or of records.")
]
Where = Annotated[
    str | None, typer.Option("--where", metavar="EXPRESSION", help="Those that fit a filter.")
]
Fingerprint = Annotated[
    list[str], typer.Option("--fingerprint", metavar="F", help="Those of a kind.")
]
Again = Annotated[
    bool, typer.Option("--again", help="Also those that were replayed or dropped before.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Plan = Annotated[
    str | None,
    typer.Option("--plan", metavar="DIGEST", help="Act only if the selection is as previewed."),
]
Confirmed = Annotated[bool, typer.Option("--yes", help="Do not ask, however many there are.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the action.")]


@dataclass(frozen=True, slots=True)
class Letters:
    """The dead-letter topic of a command.

    Attributes:
        given: Pipeline file or topic, as the user gave it.
    """

    given: str
    cluster: Cluster
    topic: str
    admin: Admin
    statuses: StatusTopic


@dataclass(frozen=True, slots=True)
class Request:
    """Which dead letters a user asks for."""

    ids: Sequence[str] = ()
    where: str | None = None
    fingerprints: Sequence[str] = ()
    again: bool = False

    @property
    def words(self) -> str:
        """The filter in words."""
        parts = []
        if self.ids:
            parts.append(f"the letters {', '.join(self.ids)}")
        if self.fingerprints:
            parts.append(f"of kind {' or '.join(self.fingerprints)}")
        if self.where:
            parts.append(f"where {self.where}")
        if self.again:
            parts.append("also those replayed or dropped before")
        return ", ".join(parts)

    def select(self, letters: Letters, statuses: Statuses) -> Selection:
        """Select the letters.

        Raises:
            SelectionRefused: The request names no letters, or an id names none.
        """
        from kafka_etl.dlq.selection import select
        from kafka_etl.errors import SelectionRefused

        if not (self.ids or self.where or self.fingerprints):
            raise SelectionRefused(
                "no dead letters are named",
                "Name IDs, or --fingerprint, or --where; `--where True` takes all of them.",
            )
        return select(self.words, found_in(letters, self), statuses, again=self.again)


def find_letters(
    given: str, kafka: str | None, pipeline: Path | None, overrides: dict[str, str]
) -> Letters:
    """Find the dead-letter topic of a pipeline file, or of this name.

    Raises:
        KafkaEtlError: The pipeline has no such topic, or no broker answers.
    """
    from kafka_etl.dlq.status_topic import StatusTopic
    from kafka_etl.kafka.admin import reached

    cluster, topic = find_topic(given, kafka, pipeline, overrides)
    admin = reached(cluster.admin)
    return Letters(
        given, cluster, topic, admin, StatusTopic(admin, cluster.consumer, cluster.producer, topic)
    )


def found_in(letters: Letters, request: Request) -> Iterator[Found]:
    """The letters that fit a request, whatever their status."""
    from kafka_etl.dead_letters.statuses import LetterPlace
    from kafka_etl.dlq.selection import Found

    wanted = [parse_id(text) for text in request.ids]
    for letter in all_letters(letters):
        if wanted and not any(one.names(letter) for one in wanted):
            continue
        if request.fingerprints and letter.fingerprint not in request.fingerprints:
            continue
        place = LetterPlace(letter.at.partition, letter.at.offset)
        yield Found(place, letter.source, letter.fingerprint, failure_of(letter))


def all_letters(letters: Letters) -> Iterator[StoredLetter]:
    from kafka_etl.dead_letters import decode_letter
    from kafka_etl.kafka.topics import existing_partitions, read_ranges, whole

    ranges = whole(letters.admin, existing_partitions(letters.admin, letters.topic))
    for record in read_ranges(letters.cluster.consumer, ranges):
        letter = decode_letter(record)
        if letter is not None:
            yield letter


def read_letters(letters: Letters, places: Collection[LetterPlace]) -> Iterator[StoredLetter]:
    """Read the letters at these places."""
    from kafka_etl.dead_letters import decode_letter
    from kafka_etl.dead_letters.statuses import LetterPlace
    from kafka_etl.kafka.topics import read_ranges
    from kafka_etl.record import Partition, offset_of, partition_of

    ranges: dict[Partition, tuple[int, int]] = {}
    for place in places:
        tp = Partition(letters.topic, place.partition)
        begin, end = ranges.get(tp, (place.offset, place.offset))
        ranges[tp] = (min(begin, place.offset), max(end, place.offset + 1))
    wanted = set(places)
    for record in read_ranges(letters.cluster.consumer, ranges):
        if LetterPlace(partition_of(record).number, offset_of(record)) in wanted:
            letter = decode_letter(record)
            if letter is not None:
                yield letter


def failure_of(letter: StoredLetter) -> str:
    """Condition, operator and error of a letter, on one line."""
    operator = f" in {letter.operator}" if letter.operator else ""
    return " ".join(f"{letter.condition}{operator}: {letter.error}".split())[:200]


def preview(letters: Letters, selection: Selection, verb: str, *details: str) -> str:
    """Show what an action is for; return its plan."""
    say = tell
    count = len(selection.letters)
    say(f"{verb} {count:,} dead letters of {letters.topic}: {selection.words}")
    for reason, number in sorted(selection.left_out.items()):
        say(f"  {number:,} more are left alone: {reason}{_remedy(reason.name)}")
    kinds = Counter(found.fingerprint for found in selection.letters)
    texts = {found.fingerprint: found.failure for found in selection.letters}
    for kind, number in kinds.most_common(_KINDS):
        say(f"  {number:>7,}  {kind}  {texts[kind]}")
    if len(kinds) > _KINDS:
        say(f"           and {len(kinds) - _KINDS} more kinds")
    for found in _sample(selection.letters):
        say(f"  such as  {letters.topic}/{found.at}  of {found.source}")
    plan = selection.plan(verb, *details)
    if count:
        say(f"plan: {plan}")
    return plan


def _remedy(reason: str) -> str:
    return " (--again takes them)" if reason in {"REPLAYED", "DROPPED"} else ""


def _sample(found: Sequence[Found]) -> Sequence[Found]:
    """Some letters, spread over all of them."""
    every = max(1, len(found) // _SAMPLE)
    return found[::every][:_SAMPLE]


def confirm(selection: Selection, digest: str, *, plan: str | None, yes: bool) -> None:
    """Have the user confirm what was previewed.

    Raises:
        SelectionRefused: The plan is another, or nobody has confirmed.
    """
    from kafka_etl.errors import SelectionRefused

    if plan is not None:
        insist(selection, plan, digest)
        return
    count = len(selection.letters)
    if yes or count <= _WITHOUT_ASKING:
        return
    if not sys.stdin.isatty():
        raise SelectionRefused(
            f"{count:,} dead letters need a confirmation",
            f"Give the same command with --plan {digest}, or with --yes.",
        )
    typed = typer.prompt(f"Type {count} to go on", err=True)
    if str(typed).replace(",", "").strip() != str(count):
        raise SelectionRefused(f"`{typed}` is not {count}")


def insist(selection: Selection, previewed: str, digest: str) -> None:
    """Insist on the plan that was previewed.

    Raises:
        SelectionRefused: The selection has another plan.
    """
    from kafka_etl.errors import SelectionRefused

    if previewed != digest:
        raise SelectionRefused(
            f"the plan was {previewed}, and is {digest} by now, with {len(selection.letters):,} "
            "letters: they, or what is to happen to them, have changed since the preview"
        )


def actor() -> str:
    """Who gives the command: `USER@HOST`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def tell(text: str) -> None:
    """Tell the user, beside the data."""
    typer.echo(text, err=True)
