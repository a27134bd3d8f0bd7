"""The commands on tasks without Kafka: states, exit statuses, the table."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from kafka_etl.cli.tasks.list import _parse_since
from kafka_etl.cli.tasks.outcomes import exit_status, no_error_looks_like_an_outcome
from kafka_etl.cli.tasks.states import parse_states
from kafka_etl.cli.tasks.table import duration, summary, table
from kafka_etl.cli.tasks.wait import wait_for
from kafka_etl.errors import BrokersUnreachable, NoSuchTask
from kafka_etl.task_history.orders import not_to_retry
from kafka_etl.task_history.rows import Task, row_of
from kafka_etl.tasks.head import Attempts, Due, Failure, Head, StopNote
from kafka_etl.tasks.states import FINAL, OPEN, State


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["Succeeded"], 0),
        (["Succeeded", "Failed"], 1),
        (["Stopped"], 3),
        (["Expired", "Succeeded"], 3),
        (["Invalid", "Failed"], 1),
        (["Failed", "Running"], 4),
        (["", "Succeeded"], 4),
        (["Unreadable"], 4),
    ],
)
def test_the_worst_outcome_is_the_exit_status(states: list[str], status: int) -> None:
    assert exit_status(states) == status


@pytest.mark.parametrize(
    ("error", "status"), [(BrokersUnreachable("none"), 2), (KeyboardInterrupt(), 130)]
)
def test_an_error_has_no_exit_status_of_an_outcome(error: BaseException, status: int) -> None:
    with pytest.raises(typer.Exit) as ended, no_error_looks_like_an_outcome():
        raise error
    assert ended.value.exit_code == status


class Journal:
    """What is read of a journal: some changes with each look, and then nothing more."""

    def __init__(self, *changes: tuple[int, str, State], marks: dict[int, int]) -> None:
        self._changes = list(changes)
        self._marks = marks
        self.heads: dict[tuple[int, str], Head | None] = {}

    def poll(self, _seconds: float = 0) -> list[tuple[int, str]]:
        if not self._changes:
            return []
        number, task, state = self._changes.pop(0)
        self.heads[number, task] = Head(id=task, state=state)
        return [(number, task)]

    def has_taken(self, ends: dict[int, int]) -> bool:
        return not self._changes and all(self._marks[n] >= end for n, end in ends.items())


def test_a_task_whose_key_nobody_knows_is_waited_for_in_all_partitions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    states = dict.fromkeys([(0, "a"), (1, "a"), (2, "a")])
    ends = {0: 5, 1: 5, 2: 5}
    journal: Any = Journal((1, "a", State.RUNNING), (1, "a", State.SUCCEEDED), marks=ends)
    assert wait_for(journal, states, None, ends) == 0
    assert capsys.readouterr().out == "a  Succeeded\n"

    journal = Journal((1, "b", State.RUNNING), marks=ends)
    with pytest.raises(NoSuchTask, match="no task a\n"):
        wait_for(journal, states, None, ends)

    late: Any = Journal(marks={0: 5, 1: 5, 2: 0})
    assert wait_for(late, states, 0.05, ends) == 4
    assert capsys.readouterr().err == "a has not ended: no owner has taken it yet\n"


def test_states_by_name_and_by_group() -> None:
    assert parse_states([]) is None
    assert parse_states(["failed", "RUNNING"]) == {"Failed", "Running"}
    assert parse_states(["open"]) == {state.value for state in OPEN}
    assert parse_states(["final, unreadable"]) == {"Unreadable", *(s.value for s in FINAL)}


@pytest.mark.parametrize("text", ["", "runing", "failed,"])
def test_what_names_no_state_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no state"):
        parse_states([text])


def test_since_is_a_time_or_so_long_ago() -> None:
    assert _parse_since(None) == 0
    assert _parse_since("1970-01-02") == 86_400_000
    assert _parse_since("2h") == pytest.approx(_parse_since("2h ago"), abs=1_000)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0ms"),
        (999, "999ms"),
        (1_000, "1s"),
        (61_500, "1m1s"),
        (3_600_000, "1h0m"),
        (90_061_000, "1d1h"),
    ],
)
def test_durations_for_people(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_what_the_table_says_of_each_state() -> None:
    heads = [
        Head(id="q", state=State.ENQUEUED),
        Head(id="w", state=State.RETRYING, due=Due(5_000, 9), error=Failure("OSError", "full\nx")),
        Head(id="r", state=State.RUNNING, token="k", executor="ex", attempts=Attempts(counted=1)),
        Head(id="s", state=State.STOPPED, stop=StopNote(1, "a", "wrong"), error=Failure("Stopped")),
        Head(id="d", state=State.DELIVERING, outcome=State.SUCCEEDED),
        Head(id="f" * 60, state=State.FAILED, error=Failure("\x1b[31mred"), finished_ms=9),
    ]
    tasks = [Task(row_of(head, head.id, 0, 0)) for head in heads]
    tasks[2] = tasks[2]._replace(fraction=0.4, text="half")
    lines = list(table(tasks, None))
    notes = [line[len("f" * 60) + 44 :].strip() for line in lines]
    assert notes[:6] == [
        "NOTE",
        "",
        "due 1970-01-01T00:00:05.000Z, OSError: full x",
        "40% half, on ex, attempt 2",
        "wrong",
        "has Succeeded",
    ]
    assert "\x1b" not in lines[6]
    assert all(len(line) <= 80 for line in table(tasks, 80))


def test_the_summary_is_in_the_order_of_a_life() -> None:
    counts = {"Unreadable": 1, "Failed": 2_000, "Enqueued": 3}
    assert summary("p", counts) == "p: 2,004 tasks: 3 Enqueued, 2,000 Failed, 1 Unreadable"
    assert summary("p", {}) == "p: 0 tasks"


@pytest.mark.parametrize("state", State)
def test_a_retry_is_for_what_has_ended_without_success_or_waits(state: State) -> None:
    row = row_of(Head(id="a", state=state), "a", 0, 0)
    ends = {State.FAILED, State.STOPPED, State.EXPIRED, State.RETRYING}
    assert (not_to_retry(row, again=False, deliver=False) is None) == (state in ends)
    again = not_to_retry(row, again=True, deliver=False) is None
    assert again == (state in {*ends, State.SUCCEEDED})
    assert not_to_retry(row, again=True, deliver=True) is not None
