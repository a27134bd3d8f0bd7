"""`kafka-etl tasks stop`, `retry` and `forget`: orders for tasks by id, or for all that fit."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.dlq.bulk import actor, tell
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.tasks.choosing import Request, confirm, preview
from kafka_etl.cli.tasks.finding import Given, TaskPipeline, WhereOption, find_pipeline
from kafka_etl.cli.tasks.outcomes import LEFT_ALONE
from kafka_etl.cli.tasks.sending import PATIENCE, Addressed, largest_word, send_words, watching
from kafka_etl.cli.tasks.states import StateOption
from kafka_etl.tasks.states import FINAL, State

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.task_history.rows import TaskRow
    from kafka_etl.task_history.watch import Watch
    from kafka_etl.tasks.words import Word

_FORGOTTEN: Final = "Forgotten"
"""What an answer says in place of a state."""

Ids = Annotated[list[str], typer.Argument(metavar="[ID]...", help="Ids of tasks.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the task.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Confirmed = Annotated[bool, typer.Option("--yes", help="Do not ask, however many there are.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object a line: id, state, generation, taken.")
]


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a user.

    Attributes:
        verb: What is ordered, in words.
        objection: Says why the order leaves a task alone; None: the order is for the task.
        word: Makes the word for a task.
    """

    verb: str
    objection: Callable[[TaskRow], str | None]
    word: Callable[[TaskRow], Word]


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
        bool, typer.Option("--quiet", help="Tell the destinations of on_failure nothing.")
    ] = False,
    dry_run: DryRun = False,
    yes: Confirmed = False,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Stop tasks, by id or all that fit, and print `ID STATE` of each; needs no daemon here.

    What waits never starts; what runs is told to end, and is Stopping until it has. The exit status
    is 3 if a task that was named had ended before.

    Example: kafka-etl tasks stop transcode a.mov --reason "wrong film"
    """
    from kafka_etl.tasks.words import Stop

    by, batch = actor(), secrets.token_hex(4) if not ids else ""

    def objection(row: TaskRow) -> str | None:
        if row.state in FINAL:
            return "ended before"
        if row.state == State.STOPPING and not force:
            return "Stopping already (--force kills the attempt)"
        if row.state == State.DELIVERING:
            return "its outcome is on its way already"
        return None if row.state in set(State) else "its head cannot be read"

    def word(row: TaskRow) -> Word:
        return Stop(
            word=secrets.token_hex(16),
            by=by,
            reason=reason,
            expect=row.generation,
            force=force,
            quiet=quiet,
            batch=batch,
        )

    request = Request(ids, where, states)
    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    _give(found, Order("stop", objection, word), request, Manner(dry_run, yes, json))


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
    dry_run: DryRun = False,
    yes: Confirmed = False,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Run tasks once more, by id or all that fit, and print `ID STATE` of each.

    A retry names the generation that this command has seen: given twice, it has an effect once.
    The exit status is 3 if a task that was named was left alone.

    Example: kafka-etl tasks retry transcode --where "error.type == 'Timeout'" --reason "disk full"
    """
    from kafka_etl.tasks.words import Retry

    by, batch = actor(), secrets.token_hex(4) if not ids else ""

    def objection(row: TaskRow) -> str | None:
        return _not_to_retry(row, again=again, deliver=deliver)

    def word(row: TaskRow) -> Word:
        return Retry(
            word=secrets.token_hex(16),
            by=by,
            reason=reason,
            expect=row.generation,
            deliver=deliver,
            again=again,
            batch=batch,
        )

    request = Request(ids, where, states)
    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    _give(found, Order("retry", objection, word), request, Manner(dry_run, yes, json))


def forget(  # noqa: PLR0913 - one parameter per option
    given: Given,
    ids: Ids = [],  # noqa: B006 - typer reads it, nobody changes it
    *,
    where: WhereOption = None,
    states: StateOption = [],  # noqa: B006
    reason: ReasonOption = "",
    dry_run: DryRun = False,
    yes: Confirmed = False,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006
) -> None:
    """Forget tasks that have ended or are Unreadable, and print `ID Forgotten` of each.

    Their history is gone, and their ids may be used anew. The exit status is 3 if a task that was
    named was left alone.

    Example: kafka-etl tasks forget transcode --state unreadable
    """
    from kafka_etl.tasks.words import Forget

    by = actor()

    def objection(row: TaskRow) -> str | None:
        is_open = row.state in set(State) - FINAL
        return "not ended yet (`kafka-etl tasks stop` ends it)" if is_open else None

    def word(row: TaskRow) -> Word:
        return Forget(word=secrets.token_hex(16), by=by, reason=reason, expect=row.generation)

    request = Request(ids, where, states)
    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    _give(found, Order("forget", objection, word), request, Manner(dry_run, yes, json))


def _not_to_retry(row: TaskRow, *, again: bool, deliver: bool) -> str | None:
    """Why a retry leaves a task alone."""
    from kafka_etl.tasks.table import SINK_FAILED

    if deliver:
        failed = row.state == State.FAILED and row.error_type == SINK_FAILED
        return None if failed else "no destination has refused its result"
    match row.state:
        case State.FAILED | State.STOPPED | State.EXPIRED | State.RETRYING:
            return None
        case State.SUCCEEDED:
            return None if again else "Succeeded (--again runs it once more)"
        case State.INVALID:
            return "Invalid: it has nothing to run"
        case _:
            return "not ended yet"


def _give(found: TaskPipeline, order: Order, request: Request, manner: Manner) -> None:
    """Give an order: choose, show and confirm, send, and tell what became of it."""
    found.partitions()
    with found.opened_index() as index:
        chosen = request.choose(index, order.objection)
    if chosen.words:
        preview(found.name, order.verb, chosen)
    for row, reason in () if chosen.words else chosen.left:
        tell(f"{row.id} is left alone: {reason}")
    if manner.dry_run:
        return
    if chosen.words:
        confirm(chosen, yes=manner.yes)
    rows = {(row.partition, row.id): row for row in chosen.rows}
    words = {place: order.word(row) for place, row in rows.items()}
    answers: Sequence[Mapping[str, Any]] = _send(found, rows, words) if words else ()
    for answer in answers:
        typer.echo(_json(answer) if manner.json else _line(answer))
    _tell_rest(found.name, answers)
    without_effect = any(answer["taken"] and not answer["effect"] for answer in answers)
    if not chosen.words and (chosen.left or without_effect):
        raise typer.Exit(LEFT_ALONE)


def _send(
    found: TaskPipeline,
    rows: Mapping[tuple[int, str], TaskRow],
    words: Mapping[tuple[int, str], Word],
) -> Sequence[Mapping[str, Any]]:
    """Send words, wait until they are taken, and say of each task what became of it."""
    from kafka_etl.tasks.words import encode_word

    addressed = (Addressed(*place, encode_word(word)) for place, word in words.items())
    with watching(found, rows) as watch:
        ends = send_words(found, addressed, largest_word(found))
        watch.until_taken(ends, PATIENCE)
        return [
            _answer(row, words[place], watch, ends[row.partition]) for place, row in rows.items()
        ]


def _answer(row: TaskRow, word: Word, watch: Watch, end: int) -> Mapping[str, Any]:
    """What became of a word.

    Args:
        row: The task as it was before.
        word: The word.
        watch: What owners have written since.
        end: Offset of the inbox up to which all words are.
    """
    from kafka_etl.tasks.words import Forget

    place = row.partition, row.id
    head = watch.heads.get(place)
    forgotten = isinstance(word, Forget) and place in watch.heads and head is None
    effect = forgotten or (head is not None and word.word in head.words)
    state = row.state if head is None else head.state.value
    return {
        "id": row.id,
        "state": _FORGOTTEN if forgotten else state,
        "generation": row.generation if head is None else head.generation,
        "taken": effect or watch.has_taken({row.partition: end}),
        "effect": effect,
    }


def _json(answer: Mapping[str, Any]) -> str:
    import orjson

    return orjson.dumps(answer).decode()


def _line(answer: Mapping[str, Any]) -> str:
    from kafka_etl.cli.readable import plain

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
