"""Tasks for programs: flat objects of lists, and everything about one task."""

from __future__ import annotations

from typing import Any

from kafka_etl.readable import shown, time_of, value_of
from kafka_etl.task_history.pipeline import Everything
from kafka_etl.task_history.rows import Task
from kafka_etl.tasks.head import Attempt, Failure, Head, StopNote
from kafka_etl.tasks.log_records import Piece


def fields(task: Task) -> dict[str, Any]:
    """A task for programs, as one flat mapping."""
    row = task.row
    return {
        "id": row.id,
        "state": row.state,
        "outcome": row.outcome or None,
        "generation": row.generation,
        "attempts": row.attempts,
        "counted": row.counted,
        "submitted": time_of(row.submitted_ms),
        "changed": time_of(row.changed_ms),
        "started": time_of(row.started_ms),
        "finished": time_of(row.finished_ms),
        "due": time_of(row.due_ms),
        "by": row.by or None,
        "source": row.source or None,
        "size": row.size,
        "executor": row.executor or None,
        "progress": task.fraction,
        "progress_text": task.text or None,
        "duplicates": row.duplicates,
        "error_type": row.error_type or None,
        "error_message": row.error_text or None,
        "reason": row.reason or None,
        "partition": row.partition,
    }


def everything_fields(every: Everything) -> dict[str, Any]:
    """Everything about a task."""
    found, head = fields(every.task), every.head
    if head is None:
        return found | {"head": shown(every.data)}
    found |= {
        "key": head.route or None,
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
    return found


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


def piece_fields(piece: Piece, attempt: int) -> dict[str, Any]:
    """A piece of a log.

    Args:
        piece: The piece.
        attempt: Number of the attempt among all of the task.
    """
    return {
        "attempt": attempt,
        "seq": piece.seq,
        "stream": piece.stream,
        "at": time_of(piece.at_ms),
        "text": piece.data.decode("utf-8", "replace"),
    }
