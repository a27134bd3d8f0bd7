"""Tasks that have ended without success, as dead letters."""

from __future__ import annotations

from typing import Final

import msgspec

from kafka_etl.invocation import Attempt, Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.record import Headers
from kafka_etl.tasks.head import Attempt as HeadAttempt
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.keeping import TaskRecord
from kafka_etl.tasks.states import State

_CREATE_TIME: Final = 1
_BY_STATE: Final = {
    State.STOPPED: Condition.STOPPED,
    State.EXPIRED: Condition.EXPIRED,
    State.INVALID: Condition.INVALID,
}
_BY_ERROR: Final = {
    "Timeout": Condition.TIMEOUT,
    "WorkerCrashed": Condition.WORKER_CRASHED,
    "WorkerLost": Condition.WORKER_CRASHED,
    "RecordTooLarge": Condition.RECORD_TOO_LARGE,
    "SinkFailed": Condition.REFUSED,
    "DecodeError": Condition.DECODE_ERROR,
}


class InputRecord(msgspec.Struct, frozen=True):
    """The input of a task; see `kafka_etl.record.SourceRecord`."""

    of: TaskRecord

    def topic(self) -> str:
        return self.of.topic

    def partition(self) -> int:
        return self.of.partition

    def offset(self) -> int:
        return self.of.offset

    def key(self) -> bytes | None:
        return self.of.key

    def value(self) -> bytes | None:
        return self.of.value

    def headers(self) -> Headers:
        return self.of.headers.copy()

    def timestamp(self) -> tuple[int, int]:
        return (_CREATE_TIME if self.of.timestamp >= 0 else 0, self.of.timestamp)

    def __len__(self) -> int:
        return len(self.of.value or b"")


def _ended(attempt: HeadAttempt) -> str:
    error = attempt.error
    return attempt.why if error is None else f"{error.type}: {error.message}"


def letter_of(head: Head, record: TaskRecord, operator: str, at_ms: int) -> DeadLetter:
    """The dead letter of a task that has ended without success.

    Args:
        head: The task's head.
        record: Its input.
        operator: Name of the operator; empty: the task never came to it.
        at_ms: Time of the letter, in milliseconds since the epoch.
    """
    error = head.error
    reason = head.stop.reason if head.stop is not None else ""
    info = ErrorInfo(
        type=head.state.value if error is None else error.type,
        message=reason if error is None else error.message,
        traceback="" if error is None else error.traceback,
    )
    condition = _BY_STATE.get(head.state) or _BY_ERROR.get(info.type, Condition.OPERATOR_ERROR)
    attempts = tuple(
        Attempt(
            attempt.number,
            attempt.started_ms,
            attempt.ended_ms,
            attempt.why
            if attempt.error is None
            else f"{attempt.error.type}: {attempt.error.message}",
        )
        for attempt in head.attempts.last
    )
    ran = operator if head.attempts.total else ""
    failure = Failure(0, condition, info, ran, attempts)
    return DeadLetter(InputRecord(record), failure, head.id, at_ms)
