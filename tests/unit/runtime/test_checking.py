"""A preflight process that is killed, answers, or ends without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from kafka_etl.config.document import Document
from kafka_etl.contracts import Guarantee, Preflight
from kafka_etl.errors import KafkaEtlError, Problem
from kafka_etl.log import get_logger
from kafka_etl.runtime import checking
from kafka_etl.runtime.checking import Checking
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.messages import Checked, Ended, LogSettings, PreflightTask, Snapshot

ANSWER = Checked(Preflight(), Guarantee.EXACTLY_ONCE)
KILLED = -9


class FakeChild:
    """A process whose end is known: its answers and its exit status."""

    def __init__(self, status: int | None = None, *answers: object) -> None:
        self._status = status
        self._answers = list(answers)
        self.tasks: list[object] = []

    def send(self, task: object) -> None:
        self.tasks.append(task)

    def received(self) -> list[object]:
        return self._answers

    def exit_status(self) -> int | None:
        return self._status

    def close(self) -> None:
        self._status = None


def killed(times: int) -> list[FakeChild]:
    return [FakeChild(KILLED) for _ in range(times)]


def checked(
    monkeypatch: pytest.MonkeyPatch, *children: FakeChild, give_up_after: int | None = 3
) -> tuple[Any, float]:
    """What comes of a preflight by these processes, one after the other, and when."""
    first, *following = children
    waiting = iter(following)
    monkeypatch.setattr(checking, "Child", lambda _module: next(waiting))
    task = PreflightTask(Document(Path("p.yaml"), {}, {}, {}, []), "member", LogSettings({}))
    run = Checking(task, cast("Child", first), give_up_after, get_logger("daemon"))
    now = 0.0
    while (answer := run.answer(now)) is None:
        now += 0.1
        assert now < 1000, "no answer"
    assert all(child.tasks == [task] for child in children)
    return answer, now


def test_its_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(monkeypatch, FakeChild(None, ANSWER)) == (ANSWER, 0.0)
    assert checked(monkeypatch, FakeChild(KILLED, ANSWER)) == (ANSWER, 0.0)


def test_its_problem_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = KafkaEtlError("no such topic").problem
    ended = Ended("failed", Snapshot("starting", 0), problem)
    assert checked(monkeypatch, FakeChild(0, ended))[0] == problem


def test_one_that_is_killed_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, after = checked(monkeypatch, *killed(2), FakeChild(None, ANSWER))
    assert answer == ANSWER
    assert after > 0
    answer, _ = checked(monkeypatch, *killed(20), FakeChild(None, ANSWER), give_up_after=None)
    assert answer == ANSWER


@pytest.mark.parametrize(
    "children", [lambda: [FakeChild(1)], lambda: [FakeChild(0)], lambda: killed(3)]
)
def test_at_some_time_there_is_no_use(
    monkeypatch: pytest.MonkeyPatch, children: Callable[[], list[FakeChild]]
) -> None:
    answer, _ = checked(monkeypatch, *children())
    assert isinstance(answer, Problem)
    assert answer.code == "E405"
