"""`kafka-etl dlq drop` and `actions`: a bulk action that runs no pipeline, and a list of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.dlq.bulk import (
    Again,
    Confirmed,
    DryRun,
    Fingerprint,
    Ids,
    Plan,
    Request,
    Where,
    agreed,
    check_statuses,
    find_letters,
    give_back,
    go_on,
    new_action,
    preview,
    tell,
)
from kafka_etl.cli.dlq.finding import Given
from kafka_etl.cli.options import Sets, parse_sets

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.cli.dlq.bulk import Letters
    from kafka_etl.dead_letters.statuses import BulkAction


def drop(  # noqa: PLR0913 - one parameter per option
    given: Given,
    ids: Ids = [],  # noqa: B006 - typer reads it, nobody changes it
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the action.")],
    where: Where = None,
    fingerprint: Fingerprint = [],  # noqa: B006
    again: Again = False,
    dry_run: DryRun = False,
    plan: Plan = None,
    yes: Confirmed = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Mark dead letters as dropped: they stay in the topic, but are no longer open.

    Example: kafka-etl dlq drop orders.dlq --where "value.test == true" --reason "test data"
    """
    from msgspec.structs import replace

    from kafka_etl.dead_letters.statuses import ActionState, LetterStatus, Status

    letters = find_letters(given, parse_sets(sets), kafka=kafka, pipeline=pipeline)
    wanted = Request(ids, where, tuple(fingerprint), again=again, plan=plan)
    selection = wanted.select(letters, letters.statuses.read())
    digest = preview(letters, selection, "drop", dry_run=dry_run)
    if not agreed(letters, selection, digest, dry_run=dry_run, plan=plan, yes=yes):
        return
    action = new_action("drop", selection, digest, reason, ActionState.DONE)
    action = replace(action, ended_ms=action.begun_ms)
    change = letters.statuses.change()
    check_statuses(selection, change.statuses, again=again)
    dropped = Status(LetterStatus.DROPPED, action.begun_ms, action.id)
    change.write(action, [(found.at, dropped) for found in selection.letters])
    tell(f"{action.count:,} dropped. Should they be open after all: replay them with --again")


def actions(
    given: Given,
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """List the bulk actions on a dead-letter topic: who, when, why, which letters, how far."""
    import msgspec

    letters = find_letters(given, parse_sets(sets), kafka=kafka, pipeline=pipeline)
    statuses = letters.statuses.read()
    for action in sorted(statuses.actions.values(), key=lambda action: action.begun_ms):
        if json:
            typer.echo(msgspec.json.encode(action).decode())
        else:
            left = len(statuses.claimed(action.id))
            typer.echo(_line(action, left))
            if left and not _runs_here(action):
                tell(_remedy(letters, action))


def _runs_here(action: BulkAction) -> bool:
    """Whether a process of this host is at a replay, as far as its usual state folder tells."""
    from kafka_etl.runtime.daemon.state_folder import default_folder, is_running

    return is_running(default_folder(), action.instance)


def _remedy(letters: Letters, action: BulkAction) -> str:
    """How a replay goes on; nobody can tell whether another host is at one that was killed."""
    from kafka_etl.dead_letters.statuses import ActionState

    stopped = "Stopped? " if action.state is ActionState.RUNNING else ""
    return (
        f"  {stopped}Go on: {go_on(letters, action)}\n"
        f"  Give its letters back: {give_back(letters, action)}"
    )


def _line(action: BulkAction, left: int) -> str:
    from kafka_etl.readable import time_of

    why = f", because: {action.reason}" if action.reason else ""
    open_ = f", {left:,} left" if left else ""
    return (
        f"{action.id}  {time_of(action.begun_ms)}  {action.kind} {action.count:,} ({action.state}"
        f"{open_}) by {action.actor}: {action.where}{why}"
    )
