"""Rows of the index: what is kept of each task, and how a head becomes a row."""

from __future__ import annotations

from typing import Final, NamedTuple

from kafka_etl.tasks.head import Head
from kafka_etl.tasks.states import State

UNREADABLE: Final = "Unreadable"
"""In the place of a state: the head of the task cannot be read, and its id is taken."""

_TEXT: Final = 300
"""Characters of the text of an error, or of a reason, that the index keeps."""
_LARGEST: Final = 2**63 - 1


class TaskRow(NamedTuple):
    """A task as the index knows it; times are in milliseconds since the epoch, None: none.

    Attributes:
        partition: Partition of inbox and journal.
        offset: Offset of the head in the journal.
        state: One of `State`, or `UNREADABLE`.
        outcome: The final state that follows on `Delivering`; empty: none.
        changed_ms: Time of the last entry in the task's history.
        started_ms: Start of the present attempt, or of the last one.
        attempts: Attempts of all generations.
        counted: Attempts of this generation that count against `max_attempts`.
        by: Who has submitted the task; empty: the pipeline's source.
        source_offset: Offset of the record of the source; -1: there is none.
        size: Bytes of the input.
        reason: Why somebody wanted the task to stop.
        who: Who said the last entry of the history.
    """

    partition: int
    id: str
    offset: int
    state: str
    generation: int
    outcome: str
    submitted_ms: int | None
    changed_ms: int
    started_ms: int | None
    finished_ms: int | None
    due_ms: int | None
    attempts: int
    counted: int
    by: str
    executor: str
    token: str
    source_topic: str
    source_partition: int
    source_offset: int
    size: int
    duplicates: int
    error_type: str
    error_text: str
    reason: str
    who: str

    @property
    def error_name(self) -> str:
        """The class of the error without its module."""
        return self.error_type.rpartition(".")[2]

    @property
    def error(self) -> str:
        return f"{self.error_type}: {self.error_text}" if self.error_text else self.error_type

    @property
    def source(self) -> str:
        """The ID of the record of the source; empty: the task was submitted by hand."""
        if self.source_offset < 0:
            return ""
        return f"{self.source_topic}/{self.source_partition}/{self.source_offset}"


class Task(NamedTuple):
    """A task, and how far its attempt is.

    Attributes:
        row: The task.
        fraction: From 0 to 1; None: the present attempt has not said.
        text: What the attempt says of it.
    """

    row: TaskRow
    fraction: float | None = None
    text: str = ""


def row_of(head: Head, task: str, partition: int, offset: int) -> TaskRow:
    """The row of a task.

    Args:
        head: The task's head.
        task: The task's id, from the key.
        partition: Partition of the journal.
        offset: Offset of the head in the journal.
    """
    submit, origin, error, stop = head.submit, head.origin, head.error, head.stop
    last = head.history[-1] if head.history else None
    submitted = None if submit is None else _bounded(submit.at_ms)
    started = head.started_ms
    if not started and head.attempts.last:
        started = head.attempts.last[-1].started_ms
    return TaskRow(
        partition=partition,
        id=task,
        offset=offset,
        state=head.state.value,
        generation=_bounded(head.generation),
        outcome=head.outcome.value if head.outcome is not None else "",
        submitted_ms=submitted,
        changed_ms=_bounded(last.at_ms if last else head.finished_ms) or submitted or 0,
        started_ms=_bounded(started) or None,
        finished_ms=_bounded(head.finished_ms) or None,
        due_ms=None if head.due is None else _bounded(head.due.at_ms),
        attempts=_bounded(head.attempts.total),
        counted=_bounded(head.attempts.counted),
        by="" if submit is None else submit.by,
        executor=head.executor,
        token=head.token,
        source_topic="" if origin is None else origin.topic,
        source_partition=-1 if origin is None else _bounded(origin.partition),
        source_offset=-1 if origin is None else _bounded(origin.offset),
        size=0 if head.input is None else _bounded(head.input.size),
        duplicates=_bounded(head.duplicates),
        error_type="" if error is None else error.type[:_TEXT],
        error_text="" if error is None else error.message[:_TEXT],
        reason="" if stop is None else stop.reason[:_TEXT],
        who=last.who if last else "",
    )


def unreadable(task: str, partition: int, offset: int, written_ms: int) -> TaskRow:
    """The row of a task whose head cannot be read.

    Args:
        task: The task's id.
        partition: Partition of the journal.
        offset: Offset of the head in the journal.
        written_ms: When the head was written, in milliseconds since the epoch.
    """
    row = row_of(Head(id=task, state=State.INVALID, generation=0), task, partition, offset)
    return row._replace(state=UNREADABLE, changed_ms=max(0, written_ms))


def _bounded(number: int) -> int:
    """The number, or -1 where a database could not keep it."""
    return number if -_LARGEST <= number <= _LARGEST else -1
