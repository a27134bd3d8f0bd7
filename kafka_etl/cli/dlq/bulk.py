"""Bulk actions on dead letters: count first, show what would happen, confirm, then act.

An action is bound to what was previewed: a plan is a digest of the letters, of the filter in words
and of what is to happen to them, and letters that come later are not part of the plan.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafka_etl.cli.dlq.filters import opened_index, parse_where
from kafka_etl.cli.dlq.finding import LetterTopic, find_topic, parse_id
from kafka_etl.cli.options import random_id

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.dead_letters import StoredLetter
    from kafka_etl.dead_letters.statuses import ActionState, BulkAction, LetterPlace, Statuses
    from kafka_etl.dlq.index import Index
    from kafka_etl.dlq.rows import LetterRow
    from kafka_etl.dlq.selection import Found, Selection
    from kafka_etl.dlq.status_topic import StatusTopic
    from kafka_etl.kafka.cluster.topics import Ranges

_SAMPLE: Final = 5
_WITHOUT_ASKING: Final = 100
_KINDS: Final = 10
_FAILURE: Final = 200

Ids = Annotated[
    list[str], typer.Argument(metavar="[ID]...", help="IDs of dead letters, or of records.")
]
Where = Annotated[
    str | None, typer.Option("--where", metavar="EXPRESSION", help="Letters that match a filter.")
]
Fingerprint = Annotated[
    list[str], typer.Option("--fingerprint", metavar="F", help="Letters of a kind.")
]
Again = Annotated[
    bool, typer.Option("--again", help="Include letters that were already replayed or dropped.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Plan = Annotated[
    str | None,
    typer.Option("--plan", metavar="PLAN", help="Act on exactly what a dry run has shown."),
]
Confirmed = Annotated[bool, typer.Option("--yes", help="Do not ask, however many there are.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the action.")]


@dataclass(frozen=True, slots=True)
class Letters:
    """The dead-letter topic of a bulk action.

    Attributes:
        given: Pipeline file or topic, as the user gave it.
    """

    given: str
    found: LetterTopic
    statuses: StatusTopic

    @property
    def topic(self) -> str:
        """Name of the dead-letter topic."""
        return self.found.topic

    @property
    def pipeline(self) -> str:
        """Name of the pipeline; empty: a topic was given."""
        spec = self.found.cluster.spec
        return "" if spec is None else spec.name

    def read(self, places: Collection[LetterPlace]) -> Iterator[StoredLetter]:
        """Read the letters at these places."""
        for letter in self.found.letters(self.ranges(places)):
            if (letter.at.partition, letter.at.offset) in places:
                yield letter

    def ranges(self, places: Collection[LetterPlace]) -> Ranges:
        """The ranges of the topic that hold these places."""
        from kafka_etl.kafka.cluster.topics import ranges_of

        return ranges_of(self.topic, places)


@dataclass(frozen=True, slots=True)
class Request:
    """Which dead letters a user asks for.

    Attributes:
        plan: The plan of a dry run, whose letters are meant; None: the rest of the request counts.
    """

    ids: Sequence[str] = ()
    where: str | None = None
    fingerprints: Sequence[str] = ()
    again: bool = False
    plan: str | None = None

    @property
    def words(self) -> str:
        """The filter in words."""
        parts: list[str] = []
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
        """Select the letters by the index, which is brought up to date.

        Raises:
            SelectionRefused: The request names no letters, or an ID names none.
            KafkaEtlError: The topic cannot be read.
        """
        from kafka_etl.dlq.plans import load
        from kafka_etl.dlq.selection import select
        from kafka_etl.errors import SelectionRefused

        if self.plan is not None:
            return load(self.plan, letters.topic)
        if not (self.ids or self.where or self.fingerprints):
            raise SelectionRefused(
                "no dead letters are named",
                "Name IDs, or --fingerprint, or --where; `--where True` takes all of them.",
            )
        return select(self.words, self._found(letters), statuses, again=self.again)

    def _found(self, letters: Letters) -> list[Found]:
        where = parse_where(self.where)
        with opened_index(letters.found) as index:
            ids = self.places(index) if self.ids else None
            kinds = self.fingerprints or (None,)
            rows = {
                row.place: row
                for kind in kinds
                for row in index.letters(where, kind, status=None, ids=ids)
            }
        return [_found(row) for row in rows.values()]

    def places(self, index: Index) -> list[LetterPlace]:
        """The places that the IDs name; of a record that failed several times, the newest.

        Raises:
            SelectionRefused: An ID names no letter, or letters of several records.
        """
        from kafka_etl.errors import SelectionRefused

        places: list[LetterPlace] = []
        for text in self.ids:
            wanted = parse_id(text)
            if wanted.partition is None:
                raise SelectionRefused(f"`{text}` is not TOPIC/PARTITION/OFFSET")
            rows = index.find(wanted.topic, wanted.partition, wanted.offset)
            if not rows:
                raise SelectionRefused(f"{index.topic} has no letter {text}, nor one of a record")
            if len({row.source if row.source_topic else row.place for row in rows}) > 1:
                ids = ", ".join(f"{index.topic}/{row.place}" for row in rows[:_SAMPLE])
                raise SelectionRefused(f"`{text}` may be any of {ids}", "Name one of these.")
            places.append(max(rows, key=lambda row: row.written_ms).place)
        return places


def find_letters(
    given: str,
    overrides: dict[str, str],
    *,
    topic: str | None = None,
    kafka: str | None = None,
    pipeline: Path | None = None,
) -> Letters:
    """Find the dead letters of a pipeline file, or of a topic.

    Args:
        given: A pipeline file, or a topic.
        overrides: Place in the pipeline file -> YAML text of its value.
        topic: Dead-letter topic to take instead of the pipeline's own.
        kafka: Bootstrap servers of the option `--kafka`.
        pipeline: Pipeline file with client settings, if `given` is a topic.

    Raises:
        KafkaEtlError: There is no such topic, or no broker answers.
    """
    from kafka_etl.dlq.status_topic import StatusTopic

    found = find_topic(given, kafka, pipeline, overrides, letters=topic)
    cluster = found.cluster
    statuses = StatusTopic(found.admin, cluster.consumer, cluster.producer, found.topic)
    return Letters(given, found, statuses)


def _found(row: LetterRow) -> Found:
    from kafka_etl.cli.dlq.kind_table import failure_of
    from kafka_etl.dead_letters import Place
    from kafka_etl.dlq.selection import Found

    source = Place(row.source_topic, row.source_partition, row.source_offset)
    return Found(row.place, source, row.fingerprint, failure_of(row)[:_FAILURE])


def preview(letters: Letters, selection: Selection, verb: str, *details: str, dry_run: bool) -> str:
    """Show what an action is for; return its plan.

    A preview is the result of a dry run, on stdout with the plan on the last line. Before an action
    the preview is beside the data.
    """
    from kafka_etl.readable import counted

    say = typer.echo if dry_run else tell
    count = len(selection.letters)
    say(f"{verb} {counted(count, 'dead letter')} of {letters.topic}: {selection.words}")
    for reason, number in sorted(selection.left_out.items()):
        say(f"  {number:,} more are left alone: {reason}{_remedy(reason.name)}")
    kinds = Counter(found.fingerprint for found in selection.letters)
    texts: dict[str, set[str]] = defaultdict(set)
    for found in selection.letters:
        texts[found.fingerprint].add(found.failure)
    for kind, number in kinds.most_common(_KINDS):
        first, others = min(texts[kind]), len(texts[kind]) - 1
        more = f"; and {counted(others, 'other message')}" if others else ""
        say(f"  {number:>7,}  {kind}  {first}{more}")
    if len(kinds) > _KINDS:
        say(f"           and {len(kinds) - _KINDS} more kinds")
    for found in _sample(selection.letters):
        say(f"  such as  {letters.topic}/{found.at}  of {found.source}")
    plan = selection.plan(verb, *details)
    if count:
        say(f"plan: {plan}")
    return plan


def _remedy(reason: str) -> str:
    if reason == "CLAIMED":
        return " (`kafka-etl dlq actions` says how each goes on)"
    return " (--again takes them)"


def _sample(found: Sequence[Found]) -> Sequence[Found]:
    """Some letters, spread over all of them."""
    every = max(1, len(found) // _SAMPLE)
    return found[::every][:_SAMPLE]


def agreed(  # noqa: PLR0913 - what was previewed, and the options of the user
    letters: Letters,
    selection: Selection,
    digest: str,
    *,
    dry_run: bool,
    plan: str | None,
    yes: bool,
) -> bool:
    """Whether to act on what was previewed; a dry run keeps its plan for the action.

    Raises:
        SelectionRefused: The plan is another, or nobody has confirmed.
    """
    from kafka_etl.dlq.plans import save

    if dry_run:
        save(digest, letters.topic, selection)
    if dry_run or not selection.letters:
        return False
    confirm(selection, digest, plan=plan, yes=yes)
    return True


def confirm(selection: Selection, digest: str, *, plan: str | None, yes: bool) -> None:
    """Have the user confirm what was previewed; a plan is a confirmation.

    Raises:
        SelectionRefused: The plan is another, or nobody has confirmed.
    """
    from kafka_etl.errors import SelectionRefused

    if plan is not None:
        if plan != digest:
            raise SelectionRefused(
                f"plan {plan} was for something else: with these options it is {digest}",
                "Give the options of the dry run once more, or make a new one.",
            )
        return
    without_terminal = (
        "Give the same command with --dry-run, and then with --plan and what it shows; or with "
        "--yes."
    )
    confirm_number(len(selection.letters), "dead letters", without_terminal, yes=yes)


def confirm_number(count: int, what: str, without_terminal: str, *, yes: bool) -> None:
    """Have the user type the number of what an action is for, if there are many.

    Args:
        count: The number.
        what: What there is this number of.
        without_terminal: What to do where nobody can be asked.
        yes: Whether the user has confirmed already.

    Raises:
        SelectionRefused: Nobody has confirmed.
    """
    from kafka_etl.errors import SelectionRefused

    if yes or count <= _WITHOUT_ASKING:
        return
    if not sys.stdin.isatty():
        raise SelectionRefused(f"{count:,} {what} need a confirmation", without_terminal)
    typed = typer.prompt(f"Type {count} to go on", err=True)
    if str(typed).replace(",", "").strip() != str(count):
        raise SelectionRefused(f"`{typed}` is not {count}")


def check_statuses(selection: Selection, statuses: Statuses, *, again: bool) -> None:
    """Check that nobody has changed the selected letters since the preview.

    Raises:
        SelectionRefused: Some have changed.
    """
    from kafka_etl.dlq.selection import select
    from kafka_etl.errors import SelectionRefused

    now = select(selection.words, selection.letters, statuses, again=again)
    if now.left_out:
        changed = ", ".join(f"{count:,} {reason}" for reason, count in now.left_out.items())
        raise SelectionRefused(
            f"letters have changed since the preview: {changed}",
            "Make a new dry run; if the one before was with --again, give --again here, too.",
        )


def new_action(
    kind: str, selection: Selection, digest: str, reason: str, state: ActionState
) -> BulkAction:
    """The account of an action that begins now, by the user of this process."""
    from kafka_etl.dead_letters.statuses import BulkAction

    return BulkAction(
        id=random_id(4),
        kind=kind,
        state=state,
        begun_ms=now_ms(),
        actor=actor(),
        reason=reason,
        where=selection.words,
        count=len(selection.letters),
        plan=digest,
    )


def unfinished(letters: Letters, statuses: Statuses, action: str) -> BulkAction:
    """The account of a replay of this pipeline, with letters left.

    Raises:
        SelectionRefused: There is none of this id, or the replay is another pipeline's.
    """
    from kafka_etl.errors import SelectionRefused

    account = statuses.actions.get(action)
    if account is None or not statuses.claimed(action):
        raise SelectionRefused(
            f"{letters.statuses.name} has no replay {action} with letters left",
            "`kafka-etl dlq actions` lists them.",
        )
    if account.pipeline != letters.pipeline:
        raise SelectionRefused(
            f"replay {action} is of pipeline {account.pipeline}", "Name that pipeline's file."
        )
    return account


def go_on(letters: Letters, action: BulkAction) -> str:
    """The command that goes on with a replay that was stopped."""
    target = () if action.to == "pipeline" else ("--to", action.to)
    operators = [part for operator in action.transform for part in ("--transform", operator)]
    reset = ("--reset-attempts",) if action.reset else ()
    options = ["--resume", action.id, *target, *operators, *reset, *_letters_option(letters)]
    return shlex.join(["kafka-etl", "dlq", "replay", _file(letters), *options])


def give_back(letters: Letters, action: BulkAction) -> str:
    """The command that opens the letters of a replay again that was stopped."""
    return shlex.join(
        ["kafka-etl", "dlq", "release", _file(letters), action.id, *_letters_option(letters)]
    )


def _file(letters: Letters) -> str:
    """The pipeline file, or a word for the file where the user has named a topic."""
    return letters.given if letters.pipeline else "FILE"


def _letters_option(letters: Letters) -> Sequence[str]:
    """The option that names the topic of dead letters, where it is not the pipeline's own."""
    spec = letters.found.cluster.spec
    own = spec.dead_letter.topic if spec is not None and spec.dead_letter is not None else None
    return () if spec is None or letters.topic == own else ("--letters", letters.topic)


def actor() -> str:
    """Who gives the command: `USER@HOST`."""
    import getpass
    import socket

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
