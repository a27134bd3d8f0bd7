"""Orders for tasks: which tasks an order is for, its words, and what became of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from kafka_etl.errors import RequestRefused
from kafka_etl.kafka.cluster.topics import record_at
from kafka_etl.record import Headers, Partition, headers_of
from kafka_etl.task_history.pipeline import TaskPipeline
from kafka_etl.task_history.rows import TaskRow
from kafka_etl.task_history.sending import (
    PATIENCE,
    Addressed,
    largest_word,
    require_room,
    send_words,
    watching,
)
from kafka_etl.task_history.watch import Watch
from kafka_etl.tasks.states import FINAL, State
from kafka_etl.tasks.table import SINK_FAILED
from kafka_etl.tasks.words import (
    Forget,
    Retry,
    Stop,
    Word,
    WordRecord,
    encode_input,
    encode_word,
    own_parts,
    preview_of,
)

_FORGOTTEN: Final = "Forgotten"
"""What an answer says in place of a state."""


class NewInput(NamedTuple):
    """An input in place of another one, with whose key and headers it goes."""

    value: bytes
    key: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a user.

    Attributes:
        verb: What is ordered, in words.
        objection: Says why the order leaves a task alone; None: the order is for the task.
        word: Makes the word for a task.
        input: What the task gets in place of its input; None: the task keeps its own.
        details: What of the order the user has chosen, besides the tasks.
    """

    verb: Literal["stop", "retry", "forget"]
    objection: Callable[[TaskRow], str | None]
    word: Callable[[TaskRow], Word]
    input: NewInput | None = None
    details: tuple[str, ...] = ()


def stop_order(
    by: str, reason: str, *, force: bool = False, quiet: bool = False, batch: str = ""
) -> Order:
    """The order to stop.

    Args:
        by: Who gives it: `USER@HOST`.
        reason: Why, in the user's words.
        force: Whether to kill attempts at once.
        quiet: Whether the destinations of failures hear nothing.
        batch: Id of the bulk action; empty: the tasks are named one by one.
    """

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

    return Order("stop", objection, word, details=_chosen(force=force, quiet=quiet))


def new_input(pipeline: TaskPipeline, task: str, value: bytes) -> NewInput:
    """A new input for a task.

    Raises:
        NoSuchTask: There is no such task.
        RequestRefused: The inbox has the old input no more.
        KafkaEtlError: Journal or inbox cannot be read.
    """
    every = pipeline.everything(task, lambda _line: None)
    old = None if every.head is None else every.head.input
    record = None
    if old is not None:
        place = Partition(pipeline.inbox, every.task.row.partition)
        record = record_at(pipeline.consumer, place, old.offset)
    if record is None:
        raise RequestRefused(
            f"{pipeline.inbox} has the input of task {task} no more, and a new one goes with the "
            "key and the headers of the old one",
            "Submit a new task.",
        )
    return NewInput(value, *own_parts(headers_of(record)))


def retry_order(  # noqa: PLR0913 - what the user may choose
    by: str,
    reason: str,
    *,
    again: bool = False,
    deliver: bool = False,
    batch: str = "",
    input_: NewInput | None = None,
) -> Order:
    """The order to run once more.

    Args:
        by: Who gives it: `USER@HOST`.
        reason: Why, in the user's words.
        again: Whether also what has Succeeded runs once more.
        deliver: Whether only to deliver the result once more.
        batch: Id of the bulk action; empty: the tasks are named one by one.
        input_: The input of the one task that is named; None: its own.
    """

    def objection(row: TaskRow) -> str | None:
        return not_to_retry(row, again=again, deliver=deliver)

    def word(row: TaskRow) -> Word:
        return Retry(
            word=secrets.token_hex(16),
            by=by,
            reason=reason,
            expect=row.generation,
            deliver=deliver,
            again=again,
            batch=batch,
            input=input_ is not None,
            preview="" if input_ is None else preview_of(input_.value),
        )

    return Order("retry", objection, word, input_, _chosen(again=again, deliver=deliver))


def forget_order(by: str, reason: str) -> Order:
    """The order to forget what has ended, or cannot be read.

    Args:
        by: Who gives it: `USER@HOST`.
        reason: Why, in the user's words.
    """

    def objection(row: TaskRow) -> str | None:
        is_open = row.state in set(State) - FINAL
        return "not ended yet (`kafka-etl tasks stop` ends it)" if is_open else None

    def word(row: TaskRow) -> Word:
        return Forget(word=secrets.token_hex(16), by=by, reason=reason, expect=row.generation)

    return Order("forget", objection, word)


def not_to_retry(row: TaskRow, *, again: bool, deliver: bool) -> str | None:
    """Why a retry leaves a task alone; None: it does not."""
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


def give(
    pipeline: TaskPipeline, order: Order, rows: Sequence[TaskRow], patience: float = PATIENCE
) -> list[dict[str, Any]]:
    """Send the words of an order, wait until they are taken, and say what became of each.

    Args:
        pipeline: The pipeline.
        order: The order.
        rows: The tasks, as the user has seen them.
        patience: Seconds without any progress of an owner after which to wait no longer.

    Returns:
        For each task: id, state, generation; whether an owner has taken the word, and whether the
        word had an effect.

    Raises:
        RecordsNotSent: The inbox takes no input of this size, or the brokers do not have all words.
        KafkaEtlError: The brokers cannot be asked.
    """
    if not rows:
        return []
    by_place = {(row.partition, row.id): row for row in rows}
    words = {place: order.word(row) for place, row in by_place.items()}
    addressed = [Addressed(*place, _record(order, word)) for place, word in words.items()]
    limit = largest_word(pipeline)
    for one in addressed if order.input is not None else ():
        require_room(pipeline, one, limit)
    with watching(pipeline, words) as watch:
        ends = send_words(pipeline, addressed, limit)
        watch.until_taken(ends, patience)
        return [_answer(row, words[place], watch, ends) for place, row in by_place.items()]


def _record(order: Order, word: Word) -> WordRecord:
    if order.input is not None and isinstance(word, Retry):
        return encode_input(word, *order.input)
    return encode_word(word)


def _answer(row: TaskRow, word: Word, watch: Watch, ends: Mapping[int, int]) -> dict[str, Any]:
    """What became of a word.

    Args:
        row: The task as it was before.
        word: The word.
        watch: What owners have written since.
        ends: Partition -> offset of the inbox up to which all words are.
    """
    place = row.partition, row.id
    head = watch.heads.get(place)
    forgotten = isinstance(word, Forget) and place in watch.heads and head is None
    effect = forgotten or (head is not None and word.word in head.words)
    state = row.state if head is None else head.state.value
    return {
        "id": row.id,
        "state": _FORGOTTEN if forgotten else state,
        "generation": row.generation if head is None else head.generation,
        "taken": effect or watch.has_taken({row.partition: ends[row.partition]}),
        "effect": effect,
    }


def _chosen(**choices: bool) -> tuple[str, ...]:
    return tuple(name for name, is_chosen in choices.items() if is_chosen)
