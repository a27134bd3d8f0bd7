"""A preflight process that is killed, answers, or ends without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from kafka_etl.config.document import Document
from kafka_etl.contracts import Guarantee, Label, Preflight
from kafka_etl.errors import BrokersUnreachable, KafkaEtlError, Problem
from kafka_etl.log import get_logger
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.daemon import preflight_process as checking
from kafka_etl.runtime.daemon.preflight_process import PreflightProcess
from kafka_etl.runtime.messages import Checked, Ended, LogSettings, PreflightTask, Snapshot

ANSWER = Checked(Preflight(), Label(Guarantee.EXACTLY_ONCE, "one transaction"))
KILLED = -9
TASK = PreflightTask(Document(Path("p.yaml"), {}, {}, {}, []), "member", LogSettings({}))
AWAY = BrokersUnreachable("no broker answered").problem


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

    def end(self) -> None:
        self._status = KILLED

    def close(self) -> None:
        self._status = None


def killed(times: int) -> list[FakeChild]:
    return [FakeChild(KILLED) for _ in range(times)]


def checked(
    monkeypatch: pytest.MonkeyPatch, *children: FakeChild, give_up_after: int | None = 3
) -> tuple[Any, float]:
    """What comes of a preflight by these processes, one after the other, and when."""
    run = begun(monkeypatch, *children, give_up_after=give_up_after)
    now = 0.0
    while (answer := run.answer(now)) is None:
        now += 0.1
        assert now < 1000, "no answer"
    assert all(child.tasks == [TASK] for child in children)
    return answer, now


def begun(
    monkeypatch: pytest.MonkeyPatch, *children: FakeChild, give_up_after: int | None
) -> PreflightProcess:
    first, *following = children
    waiting = iter(following)
    monkeypatch.setattr(checking, "Child", lambda _module: next(waiting))
    return PreflightProcess(TASK, cast("Child", first), give_up_after, get_logger("daemon"))


def test_a_host_without_room_for_a_process_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([None, None, FakeChild(None, ANSWER)])

    def start(_module: str) -> FakeChild:
        child = next(tries)
        if child is None:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return child

    monkeypatch.setattr(checking, "Child", start)
    run = PreflightProcess(TASK, None, None, get_logger("daemon"))
    now = 0.0
    assert run.answer(now) is None
    assert "preflight cannot be started: [Errno 11]" in str(run.trouble)
    while (answer := run.answer(now)) is None:
        now += 0.1
    assert answer == ANSWER


def test_a_run_to_the_end_gives_up_where_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_module: str) -> FakeChild:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(checking, "Child", start)
    run = PreflightProcess(TASK, None, 2, get_logger("daemon"))
    assert run.answer(0.0) is None
    problem = run.answer(1000.0)
    assert isinstance(problem, Problem)
    assert "cannot be started" in problem.what


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


def without_brokers() -> FakeChild:
    return FakeChild(0, Ended("failed", Snapshot("starting", 0), AWAY))


def test_a_daemon_waits_for_its_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    away = [without_brokers() for _ in range(20)]
    answer, after = checked(monkeypatch, *away, FakeChild(None, ANSWER), give_up_after=None)
    assert answer == ANSWER
    assert after > 1


def test_a_run_to_the_end_does_not_wait_for_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(monkeypatch, without_brokers(), give_up_after=3) == (AWAY, 0.0)


def test_what_it_waits_for_is_shown_all_the_while(monkeypatch: pytest.MonkeyPatch) -> None:
    telling = FakeChild(None, Snapshot("starting", 0, trouble="the brokers start"))
    run = begun(monkeypatch, telling, without_brokers(), give_up_after=None)
    assert run.trouble is None
    assert run.answer(0) is None
    first = run.trouble or ""
    assert first.startswith("the brokers start (since ")
    telling._answers = [Ended("failed", Snapshot("starting", 0), AWAY)]
    assert run.answer(0) is None
    assert run.trouble == first.replace("the brokers start", AWAY.what)
    assert run.answer(1000) is None
    assert run.child is not None
    assert run.trouble is not None
