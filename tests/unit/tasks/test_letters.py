"""What the dead letter of a task says."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl.engine.tasks.letters import letter_of
from kafka_etl.invocation import Condition, ErrorInfo
from kafka_etl.tasks.head import Failure, Head, StopNote
from kafka_etl.tasks.keeping import TaskRecord
from kafka_etl.tasks.states import State

RECORD = TaskRecord("uploads", 0, 7, 1_000, None, b"{}", [])


def error_of(**fields: Any) -> tuple[Condition, ErrorInfo]:
    letter = letter_of(Head(id="t", **fields), RECORD, "transcode", 1_000)
    return letter.failure.condition, letter.failure.error


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (
            StopNote(1, by="ann@host", reason="the wrong film"),
            "stopped by ann@host: the wrong film",
        ),
        (StopNote(1, by="ann@host"), "stopped by ann@host"),
        (StopNote(1, reason="the wrong film"), "stopped: the wrong film"),
    ],
)
def test_it_says_who_has_stopped_the_task_and_why(stop: StopNote, said: str) -> None:
    """Not what the stopped attempt, or the attempt before, has raised."""
    for error in (None, Failure("Stopped"), Failure("OSError", "the store is away")):
        found = error_of(state=State.STOPPED, stop=stop, error=error)
        assert found == (Condition.STOPPED, ErrorInfo("Stopped", said))


def test_it_says_what_the_last_attempt_has_raised() -> None:
    error = Failure("OSError", "the store is away", "at put")
    found = error_of(state=State.FAILED, error=error)
    assert found == (
        Condition.OPERATOR_ERROR,
        ErrorInfo("OSError", "the store is away", "at put"),
    )


def test_a_task_that_never_ran_has_its_state_as_the_error() -> None:
    assert error_of(state=State.EXPIRED) == (Condition.EXPIRED, ErrorInfo("Expired", ""))
