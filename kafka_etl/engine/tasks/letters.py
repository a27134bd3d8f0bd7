"""Tasks that have ended without success, as dead letters."""

from __future__ import annotations

from typing import Final

from kafka_etl.invocation import Attempt, Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.tasks.head import Attempt as HeadAttempt
from kafka_etl.tasks.head import Failure as HeadFailure
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.input_record import InputRecord
from kafka_etl.tasks.keeping import TaskRecord
from kafka_etl.tasks.limits import CPU_LIMIT, MEMORY_LIMIT
from kafka_etl.tasks.states import State

_BY_STATE: Final = {
    State.STOPPED: Condition.STOPPED,
    State.EXPIRED: Condition.EXPIRED,
    State.INVALID: Condition.INVALID,
}
_BY_ERROR: Final = {
    "Timeout": Condition.TIMEOUT,
    CPU_LIMIT: Condition.TIMEOUT,
    MEMORY_LIMIT: Condition.WORKER_CRASHED,
    "WorkerCrashed": Condition.WORKER_CRASHED,
    "WorkerLost": Condition.WORKER_CRASHED,
    "RecordTooLarge": Condition.RECORD_TOO_LARGE,
    "SinkFailed": Condition.REFUSED,
}


def _error_of(head: Head) -> ErrorInfo:
    error, stop = head.error, head.stop
    if head.state is State.STOPPED and stop is not None:
        by = f"stopped by {stop.by}" if stop.by else "stopped"
        return ErrorInfo("Stopped", f"{by}: {stop.reason}" if stop.reason else by, "")
    if error is None:
        return ErrorInfo(head.state.value, "", "")
    return ErrorInfo(error.type, error.message, error.traceback or error.stderr)


def _ended(attempt: HeadAttempt) -> str:
    error = attempt.error
    if error is None:
        return attempt.why
    return f"{error.type}: {error.message}" if error.message else error.type


def _condition_of(error: HeadFailure | None) -> Condition:
    if error is None:
        return Condition.OPERATOR_ERROR
    named = next((one for one in Condition if one.value == error.condition), None)
    return named or _BY_ERROR.get(error.type, Condition.OPERATOR_ERROR)


def letter_of(head: Head, record: TaskRecord, operator: str, at_ms: int) -> DeadLetter:
    """The dead letter of a task that has ended without success.

    Args:
        head: The task's head.
        record: Its input.
        operator: Name of the operator; empty: the task never came to it.
        at_ms: Time of the letter, in milliseconds since the epoch.
    """
    info = _error_of(head)
    condition = _BY_STATE.get(head.state) or _condition_of(head.error)
    attempts = tuple(
        Attempt(one.number, one.started_ms, one.ended_ms, _ended(one)) for one in head.attempts.last
    )
    ran = operator if head.attempts.total else ""
    failure = Failure(0, condition, info, ran, attempts)
    return DeadLetter(InputRecord(record), failure, head.id, at_ms)
