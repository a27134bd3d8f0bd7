"""`kafka-etl dlq replay`: puts dead letters back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.dlq.bulk import (
    Again,
    Confirmed,
    DryRun,
    Fingerprint,
    Ids,
    Plan,
    Reason,
    Request,
    Where,
    agreed,
    check_statuses,
    find_letters,
    new_action,
    preview,
    tell,
    unfinished,
)
from kafka_etl.cli.dlq.finding import LettersOption, tasks_of
from kafka_etl.cli.options import Sets, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.cli.dlq.bulk import Letters
    from kafka_etl.dead_letters.statuses import BulkAction, LetterPlace, Statuses
    from kafka_etl.dlq.replay import ReplayOrder
    from kafka_etl.dlq.selection import Found, Selection

    Source = tuple[str, int, int]
    """Topic, partition and offset of a record that failed."""


def replay(  # noqa: PLR0913 - one parameter per option
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A pipeline file.")],
    ids: Ids = [],  # noqa: B006 - typer reads it, nobody changes it
    *,
    where: Where = None,
    fingerprint: Fingerprint = [],  # noqa: B006
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="pipeline|source|TOPIC",
            help="Through the pipeline's operators to its sink; back to the topics that the "
            "records came from; or to a topic.",
        ),
    ] = "pipeline",
    transform: Annotated[
        list[str],
        typer.Option(
            "--transform",
            metavar="OPERATOR",
            help="An operator to run before those of the pipeline.",
        ),
    ] = [],  # noqa: B006
    edit: Annotated[
        bool, typer.Option("--edit", help="Correct the values in $EDITOR first; at most 100.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="At most this many records a second.")
    ] = None,
    reset_attempts: Annotated[
        bool,
        typer.Option(
            "--reset-attempts", help="With --to source or TOPIC: forget the failures so far."
        ),
    ] = False,
    max_failures: Annotated[
        int, typer.Option(min=1, help="Skip records that have already failed this many times.")
    ] = 10,
    again: Again = False,
    dry_run: DryRun = False,
    plan: Plan = None,
    yes: Confirmed = False,
    reason: Reason = "",
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="ACTION", help="Continue a replay that was stopped."),
    ] = None,
    topic: LettersOption = None,
    state_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the replay keeps its state.")
    ] = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Replay dead letters, each exactly once: by id, fingerprint or filter.

    The record and its new status move in one transaction, so a replay that was killed can be
    continued: give the same command again, or `--resume`. A record that fails again becomes a dead
    letter with its whole history.

    Example: kafka-etl dlq replay pipeline.yaml --fingerprint 1f0c9a8e7d6b5a43
    """
    from msgspec.structs import replace

    from kafka_etl.cli.dlq.changes import edited, show_transformed
    from kafka_etl.cli.dlq.replay_run import run_replay
    from kafka_etl.dead_letters.statuses import ActionState
    from kafka_etl.dlq.replay import BACK, ReplayOrder

    overrides = parse_sets(sets)
    letters = find_letters(str(file), overrides, topic=topic)
    _refuse_tasks(letters, file)
    order = ReplayOrder(
        letters.topic,
        action="",
        to=to,
        transform=tuple(transform),
        rate=rate,
        reset=reset_attempts,
        max_failures=max_failures,
    )
    wanted = Request(ids, where, tuple(fingerprint), again=again, plan=plan)
    statuses = letters.statuses.read()
    action = None if dry_run else _stopped_before(letters, statuses, wanted, order, resume)
    if action is not None:
        left = len(statuses.claimed(action.id))
        tell(f"replay {action.id} goes on: {left:,} of {action.count:,} are left")
    else:
        selection = wanted.select(letters, statuses)
        sources = _sources_of(letters, selection)
        if to == BACK:
            _refuse_lost(letters, selection, sources)
        edits = edited(letters, selection) if edit else {}
        details = _details(order, edits)
        digest = preview(letters, selection, "replay", *details, dry_run=dry_run)
        if transform:
            show_transformed(file, overrides, letters, selection, order)
        if not agreed(letters, selection, digest, dry_run=dry_run, plan=plan, yes=yes):
            return
        action = replace(
            new_action("replay", selection, digest, reason, ActionState.RUNNING),
            pipeline=letters.pipeline,
            to=order.to,
            transform=tuple(order.transform),
            reset=order.reset,
        )
        _claim(letters, selection, action, sources, edits, again=again)
    raise typer.Exit(run_replay(file, overrides, letters, order, action, state_dir))


def _refuse_tasks(letters: Letters, file: Path) -> None:
    """Refuse the dead letters of a task pipeline, which tell of tasks.

    Raises:
        SelectionRefused: The file says `mode: task`.
    """
    from kafka_etl.errors import SelectionRefused

    tasks = tasks_of(letters.found, str(file))
    if tasks is not None:
        raise SelectionRefused(f"{file} has `mode: task`, and {tasks.what}", tasks.advice)


def _sources_of(letters: Letters, selection: Selection) -> dict[LetterPlace, Source]:
    """Where the records were, of those letters whose source still has the partition."""
    named = {found.source.topic for found in selection.letters} - {""}
    partitions = letters.found.admin.topics(named, "READ")
    return {
        found.at: (at.topic, at.partition, at.offset)
        for found in selection.letters
        if 0 <= (at := found.source).partition < partitions.get(at.topic, 0) and at.offset >= 0
    }


def _refuse_lost(
    letters: Letters, selection: Selection, sources: Mapping[LetterPlace, Source]
) -> None:
    """Refuse letters that cannot go back to their source, as the source is gone or not known.

    Raises:
        SelectionRefused: There are some.
    """
    from kafka_etl.errors import SelectionRefused
    from kafka_etl.readable import counted

    lost = [found for found in selection.letters if found.at not in sources]
    if lost:
        one = lost[0]
        raise SelectionRefused(
            f"{counted(len(lost), 'dead letter')} cannot go back: there is no {one.source}, of "
            f"which {letters.topic}/{one.at} is",
            "Name a topic, --to TOPIC, or leave them out.",
        )


def _details(order: ReplayOrder, edits: Mapping[LetterPlace, bytes]) -> list[str]:
    """What the plan is bound to, besides the letters."""
    changed = [f"{place}:{value.hex()}" for place, value in sorted(edits.items())]
    return [order.to, *order.transform, str(order.reset), *changed]


def _stopped_before(
    letters: Letters,
    statuses: Statuses,
    wanted: Request,
    order: ReplayOrder,
    resume: str | None,
) -> BulkAction | None:
    """The action to go on with: the one that is named, or one of the same request.

    Raises:
        SelectionRefused: The action that is named has ended, or is none.
    """
    from kafka_etl.errors import SelectionRefused

    if resume is not None:
        action = unfinished(letters, statuses, resume)
        if action.to != order.to:
            raise SelectionRefused(f"replay {resume} is --to {action.to}", "Give the same --to.")
        return action
    if wanted.plan is not None:
        return None
    same = (letters.pipeline, wanted.words, order.to, tuple(order.transform))
    return next(
        (
            action
            for action in statuses.actions.values()
            if (action.pipeline, action.where, action.to, tuple(action.transform)) == same
            and statuses.claimed(action.id)
        ),
        None,
    )


def _claim(  # noqa: PLR0913 - what was previewed
    letters: Letters,
    selection: Selection,
    action: BulkAction,
    sources: Mapping[LetterPlace, Source],
    edits: Mapping[LetterPlace, bytes],
    *,
    again: bool,
) -> None:
    """Claim the selected letters for the action.

    Statuses are looked at once more while nobody else can change them: the letters that were
    previewed are claimed, and no others.

    Raises:
        SelectionRefused: Letters have changed since the preview.
        StatusesTaken: Another command changes the statuses.
    """
    from kafka_etl.dead_letters.statuses import LetterStatus, Status

    change = letters.statuses.change()
    check_statuses(selection, change.statuses, again=again)

    def claim(found: Found) -> Status:
        return Status(
            LetterStatus.REPLAYING,
            action.begun_ms,
            action.id,
            sources.get(found.at),
            edits.get(found.at),
        )

    change.write(action, [(found.at, claim(found)) for found in selection.letters])
