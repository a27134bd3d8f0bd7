"""Renders everything about one task: as text for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from shlex import quote
from typing import Any, Final

import msgspec
import orjson

from kafka_etl.cli.readable import indented, plain, shown, time_of, value_of
from kafka_etl.cli.tasks.table import duration, fields, progress_of
from kafka_etl.task_history.rows import Task
from kafka_etl.tasks.head import Attempt, Failure, Head, StopNote, decode_head
from kafka_etl.tasks.states import HELD, State

_LABEL: Final = 13


@dataclass(frozen=True)
class Everything:
    """A task with its head.

    Attributes:
        task: The task as the index knows it.
        data: The head as the journal has it.
        inbox: Name of the pipeline's inbox.
    """

    task: Task
    data: bytes
    inbox: str

    @cached_property
    def head(self) -> Head | None:
        """The head; None: it cannot be read."""
        try:
            return decode_head(self.data)
        except msgspec.MsgspecError:
            return None


def as_json(every: Everything) -> str:
    """Render a task as JSON on one line."""
    found, head = fields(every.task), every.head
    if head is None:
        return orjson.dumps(found | {"head": shown(every.data)}).decode()
    found |= {
        "input": _input_fields(every, head),
        "result": value_of(head.result.encode())["value"] if head.result else None,
        "error": _failure_fields(head.error),
        "stop": None if head.stop is None else _stop_fields(head.stop),
        "attempts_last": [_attempt_fields(attempt) for attempt in head.attempts.last],
        "destinations": [
            {"name": d.name, "status": d.status, "why": d.why or None} for d in head.destinations
        ],
        "history": [
            {"at": time_of(e.at_ms), "state": e.to.value, "who": e.who, "why": e.why or None}
            for e in head.history
        ],
        "history_before": head.before,
        "trace": head.trace or None,
        "token": head.token or None,
    }
    return orjson.dumps(found).decode()


def _input_fields(every: Everything, head: Head) -> dict[str, Any] | None:
    if head.input is None:
        return None
    return {
        "at": f"{every.inbox}/{every.task.row.partition}/{head.input.offset}",
        "size": head.input.size,
        "preview": head.input.preview or None,
    }


def _failure_fields(error: Failure | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "type": error.type,
        "message": error.message or None,
        "traceback": error.traceback or None,
        "exit_status": error.exit_status,
        "stderr": error.stderr or None,
    }


def _stop_fields(stop: StopNote) -> dict[str, Any]:
    return {
        "at": time_of(stop.at_ms),
        "by": stop.by,
        "reason": stop.reason or None,
        "force": stop.force,
        "quiet": stop.quiet,
        "too_late": stop.too_late,
        "unconfirmed": stop.unconfirmed,
    }


def _attempt_fields(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "token": attempt.token,
        "executor": attempt.executor,
        "started": time_of(attempt.started_ms or None),
        "ended": time_of(attempt.ended_ms or None),
        "why": attempt.why,
        "counted": attempt.counted,
        "error": _failure_fields(attempt.error),
    }


def as_text(every: Everything, given: str) -> str:
    """Render a task for people.

    Args:
        every: The task.
        given: The pipeline as the user named it, for commands to go on with.
    """
    head, task = every.head, quote(every.task.row.id)
    if head is None:
        return "\n".join(
            [
                f"{every.task.row.id}: its head cannot be read, and its id is taken",
                indented(shown(every.data)),
            ]
        )
    lines = [*_summary(every, head), *_failure(head), *_attempts(head), *_history(head)]
    following = _following(head.state)
    if following:
        lines += ["", f"{following[0]}: kafka-etl tasks {following[1]} {given} {task}"]
    return "\n".join(lines)


def _summary(every: Everything, head: Head) -> Iterator[str]:
    outcome = f", its outcome is {head.outcome}" if head.outcome is not None else ""
    generation = f", generation {head.generation}" if head.generation > 1 else ""
    yield _line("task", head.id)
    yield _line("state", f"{head.state}{outcome}{generation}")
    yield from _origin(every, head)
    yield from _whereabouts(every, head)
    if head.result:
        yield _line("result", head.result)
    if head.stop is not None:
        yield _line("stop", _stop(head.stop))
    if head.duplicates:
        yield _line("duplicates", f"{head.duplicates:,} submissions of the same id were dropped")
    for destination in head.destinations:
        why = f": {destination.why}" if destination.why else ""
        yield _line("destination", f"{destination.name}: {destination.status}{why}")


def _origin(every: Everything, head: Head) -> Iterator[str]:
    """Where the task comes from, and its input."""
    row = every.task.row
    if head.submit is not None:
        by = f" by {head.submit.by}" if head.submit.by else ""
        yield _line("submitted", f"{time_of(head.submit.at_ms)}{by}")
    if row.source:
        yield _line("source", row.source)
    if head.input is not None:
        at = f"{every.inbox}/{row.partition}/{head.input.offset}"
        yield _line("input", f"{head.input.size:,} bytes in {at}")
        if head.input.preview:
            yield _line("", head.input.preview)


def _whereabouts(every: Everything, head: Head) -> Iterator[str]:
    """Where the task runs and how far it is, or what it waits for, or when it ended."""
    started = every.task.row.started_ms
    if head.state in HELD:
        since = f" since {time_of(started)}" if started is not None else ""
        yield _line("runs on", f"{head.executor}{since}")
    if every.task.fraction is not None:
        yield _line("progress", progress_of(every.task))
    if head.due is not None:
        yield _line("due", time_of(head.due.at_ms) or "-")
    if head.finished_ms:
        yield _line("finished", time_of(head.finished_ms) or "-")


def _stop(stop: StopNote) -> str:
    parts = [f"ordered {time_of(stop.at_ms)} by {stop.by}"]
    parts += [f"because: {stop.reason}"] if stop.reason else []
    flags = {
        "at once": stop.force,
        "quiet": stop.quiet,
        "it came too late": stop.too_late,
        "nobody has confirmed the end": stop.unconfirmed,
    }
    return ", ".join([*parts, *(text for text, is_set in flags.items() if is_set)])


def _failure(head: Head) -> Iterator[str]:
    error = head.error
    if error is None:
        return
    yield _line("error", _error(error))
    if error.traceback:
        yield indented(plain(error.traceback.rstrip()))
    if error.stderr:
        yield _line("stderr", "the last of it:")
        yield indented(plain(error.stderr.rstrip()))


def _error(error: Failure) -> str:
    said = f"{error.type}: {error.message}" if error.message else error.type
    return said if error.exit_status is None else f"{said} (exit status {error.exit_status})"


def _attempts(head: Head) -> Iterator[str]:
    attempts = head.attempts
    if not attempts.total:
        return
    interrupted = f", {attempts.interruptions} interrupted" if attempts.interruptions else ""
    yield ""
    yield f"attempts: {attempts.total} in all, {attempts.counted} count{interrupted}"
    for attempt in attempts.last:
        took = duration(attempt.ended_ms - attempt.started_ms) if attempt.started_ms else "unused"
        error = f", {plain(_error(attempt.error))}" if attempt.error is not None else ""
        ended = time_of(attempt.ended_ms) or "-"
        yield (
            f"  {attempt.number:>3}  {ended}  {took:>7}  on {plain(attempt.executor)}: "
            f"{attempt.why}{error}"
        )


def _history(head: Head) -> Iterator[str]:
    if not head.history:
        return
    yield ""
    yield f"history: {head.before} before these" if head.before else "history:"
    for entry in head.history:
        why = f": {entry.why}" if entry.why else ""
        yield f"  {time_of(entry.at_ms)}  {entry.to:<10}  {plain(f'{entry.who}{why}')}"


def _following(state: State) -> tuple[str, str] | None:
    """What one may do next, and the command for it."""
    match state:
        case State.FAILED | State.STOPPED | State.EXPIRED:
            return "Once more", "retry"
        case State.ENQUEUED | State.DEQUEUED | State.RUNNING | State.RETRYING:
            return "Stop it", "stop"
        case _:
            return None


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{plain(text)}"
