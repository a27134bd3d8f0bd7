"""Renders everything about one task: as text for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Final

import orjson

from kafka_etl.cli.tasks.table import duration, progress_of
from kafka_etl.readable import indented, plain, shown, time_of
from kafka_etl.task_history.fields import everything_fields
from kafka_etl.task_history.pipeline import Everything
from kafka_etl.tasks.head import Failure, Head, StopNote
from kafka_etl.tasks.states import HELD, State

_LABEL: Final = 13


def as_json(every: Everything) -> str:
    """Render a task as JSON on one line."""
    return orjson.dumps(everything_fields(every)).decode()


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
    if head.route:
        note = " (begun anew, out of the order of its key)" if head.overtakes else ""
        yield _line("key", f"{head.route}{note}")
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
