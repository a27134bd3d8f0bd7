"""`kafka-etl tasks stop`, `retry` and `forget`: orders for tasks by id, or for all that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.dlq.bulk import actor, tell
from kafka_etl.cli.options import Sets, parse_sets, random_id
from kafka_etl.cli.tasks.choosing import Chosen, Request, confirm, preview
from kafka_etl.cli.tasks.finding import Given, WhereOption, find_pipeline, opened_index
from kafka_etl.cli.tasks.inputs import read_input
from kafka_etl.cli.tasks.outcomes import LEFT_ALONE
from kafka_etl.cli.tasks.states import StateOption

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.task_history.orders import Order
    from kafka_etl.task_history.pipeline import TaskPipeline

Ids = Annotated[list[str], typer.Argument(metavar="[ID]...", help="Ids of tasks.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the task.")]
PlanOption = Annotated[
    str | None,
    typer.Option("--plan", metavar="PLAN", help="Act on exactly what a dry run has shown."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Confirmed = Annotated[bool, typer.Option("--yes", help="Do not ask, however many there are.")]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object a line: id, state, generation, taken. Of a dry run: plan, tasks.",
    ),
]


@dataclass(frozen=True, slots=True)
class Manner:
    """How an order is given, as options say.

    Attributes:
        dry_run: Whether only to show what would happen.
        yes: Whether the user has confirmed already.
        json: Whether the answer is for programs.
    """

    dry_run: bool
    yes: bool
    json: bool


def stop(  # noqa: PLR0913 - one parameter per option
    given: Given,
    ids: Ids = [],  # noqa: B006 - typer reads it, nobody changes it
    *,
    where: WhereOption = None,
    states: StateOption = [],  # noqa: B006
    reason: ReasonOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Kill running attempts at once, without stop_grace.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Send nothing to the destinations of on_failure.")
    ] = False,
    dry_run: DryRun = False,
    plan: PlanOption = None,
    yes: Confirmed = False,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Stop tasks, by id or by filter, and print `ID STATE` of each; needs no daemon here.

    A task that waits never starts; a task that runs is told to end, and is Stopping until it has.
    The exit status is 3 if a task that was named had already ended.

    Example: kafka-etl tasks stop transcode a.mov --reason "wrong film"
    """
    from kafka_etl.task_history.orders import stop_order

    batch = "" if ids else random_id(4)
    order = stop_order(actor(), reason, force=force, quiet=quiet, batch=batch)
    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    _give(found, order, Request(ids, where, states, plan), Manner(dry_run, yes, json))


def retry(  # noqa: PLR0913 - one parameter per option
    given: Given,
    ids: Ids = [],  # noqa: B006 - typer reads it, nobody changes it
    *,
    where: WhereOption = None,
    states: StateOption = [],  # noqa: B006
    reason: ReasonOption = "",
    again: Annotated[bool, typer.Option("--again", help="Also tasks that have Succeeded.")] = False,
    deliver: Annotated[
        bool,
        typer.Option("--deliver", help="Only deliver the result, where a destination refused it."),
    ] = False,
    text: Annotated[
        str | None,
        typer.Option("--input", metavar="JSON", help="Another input, as text, for one task."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="Likewise a file; -: standard input."),
    ] = None,
    dry_run: DryRun = False,
    plan: PlanOption = None,
    yes: Confirmed = False,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Run tasks once more, by id or by filter, and print `ID STATE` of each.

    A retry names the generation that this command has seen: given twice, it has an effect once.
    The exit status is 3 if a task that was named was left unchanged.

    Example: kafka-etl tasks retry transcode --where "error.type == 'Timeout'" --reason "disk full"
    """
    from kafka_etl.task_history.orders import new_input, retry_order

    batch = "" if ids else random_id(4)
    value = None if text is None and file is None else read_input(text, file, "--input")
    if value is not None and (len(ids) != 1 or deliver):
        said = "another input is for one task, which is named by its id and runs once more"
        raise typer.BadParameter(said, param_hint="--input")
    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    fresh = None if value is None else new_input(found, ids[0], value)
    order = retry_order(actor(), reason, again=again, deliver=deliver, batch=batch, input_=fresh)
    _give(found, order, Request(ids, where, states, plan), Manner(dry_run, yes, json))


def forget(  # noqa: PLR0913 - one parameter per option
    given: Given,
    ids: Ids = [],  # noqa: B006 - typer reads it, nobody changes it
    *,
    where: WhereOption = None,
    states: StateOption = [],  # noqa: B006
    reason: ReasonOption = "",
    dry_run: DryRun = False,
    plan: PlanOption = None,
    yes: Confirmed = False,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Forget tasks that have ended or are Unreadable, and print `ID Forgotten` of each.

    Their history is deleted, and their ids can be used again. The exit status is 3 if a task that
    was named was left unchanged.

    Example: kafka-etl tasks forget transcode --state unreadable
    """
    from kafka_etl.task_history.orders import forget_order

    order = forget_order(actor(), reason)
    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    _give(found, order, Request(ids, where, states, plan), Manner(dry_run, yes, json))


def _give(found: TaskPipeline, order: Order, request: Request, manner: Manner) -> None:
    """Give an order: choose, show and confirm, send, and tell what became of it."""
    from kafka_etl.task_history.orders import give

    found.partitions()
    choose = _named if request.ids and not manner.dry_run else _planned
    chosen = choose(found, order, request, manner)
    if manner.dry_run:
        return
    answers = give(found, order, chosen.rows)
    for answer in answers:
        typer.echo(_json(answer) if manner.json else _line(answer))
    _tell_rest(found.name, answers)
    without_effect = any(answer["taken"] and not answer["effect"] for answer in answers)
    if request.ids and (chosen.left or without_effect):
        raise typer.Exit(LEFT_ALONE)


def _named(found: TaskPipeline, order: Order, request: Request, _manner: Manner) -> Chosen:
    """The tasks that were named one by one."""
    with opened_index(found) as index:
        chosen = request.choose(index, order.objection)
    for row, reason in chosen.left:
        tell(f"{row.id} is left alone: {reason}")
    return chosen


def _planned(found: TaskPipeline, order: Order, request: Request, manner: Manner) -> Chosen:
    """The tasks that fit a filter, previewed and confirmed, or of a dry run; a plan confirms.

    Raises:
        SelectionRefused: Nobody has confirmed, or there is no such plan.
    """
    from kafka_etl.task_history.plans import Plan, load, save

    meant = (order.verb, *order.details)
    if request.plan is not None:
        plan = load(request.plan, found.name, meant)
        chosen = Chosen(plan.rows, (), plan.words)
        preview(found.name, order.verb, chosen)
        return chosen
    with opened_index(found) as index:
        chosen = request.choose(index, order.objection)
    if not manner.dry_run:
        preview(found.name, order.verb, chosen)
        confirm(chosen, yes=manner.yes)
        return chosen
    preview(found.name, order.verb, chosen, tell if manner.json else typer.echo)
    name = save(Plan(found.name, meant, chosen.words, chosen.rows)) if chosen.rows else None
    if manner.json:
        typer.echo(_json({"plan": name, "tasks": len(chosen.rows)}))
    elif name is not None:
        typer.echo(f"plan: {name}")
    return chosen


def _json(answer: Mapping[str, Any]) -> str:
    import orjson

    return orjson.dumps(answer).decode()


def _line(answer: Mapping[str, Any]) -> str:
    from kafka_etl.readable import plain

    name, state = plain(answer["id"]), answer["state"]
    if not answer["taken"]:
        return f"{name}  {state}, not taken yet"
    return f"{name}  {state}{'' if answer['effect'] else ', no effect'}"


def _tell_rest(name: str, answers: Sequence[Mapping[str, Any]]) -> None:
    waiting = sum(not answer["taken"] for answer in answers)
    if waiting:
        tell(f"{waiting:,} orders are in the inbox; they are taken when {name} runs")
    changed = sum(answer["taken"] and not answer["effect"] for answer in answers)
    if changed:
        tell(f"{changed:,} tasks have changed in the meantime, and are left as they are")
