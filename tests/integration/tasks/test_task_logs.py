"""Logs and stacks of tasks on a real Kafka, by the commands of users."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_etl.tasks.states import State
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.talking_tasks import TalkingTasks

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, kafka: Kafka) -> TalkingTasks:
    return TalkingTasks(tmp_path_factory.mktemp("logs"), kafka)


@pytest.fixture(scope="module")
def daemon(project: TalkingTasks) -> Iterator[Daemon]:
    with project.daemon() as running:
        yield running


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_what_a_task_has_printed_is_there_after_its_end(
    project: TalkingTasks, daemon: Daemon
) -> None:
    project.submit("a", prints=["one", "two"], errors=["oh"], logs="noted")
    project.submit("b", prints=["of another"])
    project.until("a", State.SUCCEEDED)
    project.until("b", State.SUCCEEDED)

    done = project.tasks("logs", "a")

    assert done.returncode == 0, done.stderr
    assert "one\ntwo\n" in done.stdout
    assert "INFO noted\n" in done.stdout
    assert "oh\n" in done.stderr
    assert "of another" not in done.stdout
    lines = [json.loads(line) for line in project.tasks("logs", "a", "--json").stdout.splitlines()]
    assert {line["stream"] for line in lines} == {"out", "err", "log", "end"}
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    assert daemon.process.poll() is None


def test_each_attempt_has_a_log_of_its_own(project: TalkingTasks, daemon: Daemon) -> None:
    project.submit("two", fails=1, prints=["hello"])
    project.until("two", State.SUCCEEDED)

    last = project.tasks("logs", "two")
    first = project.tasks("logs", "two", "--attempt", "1")
    none = project.tasks("logs", "two", "--attempt", "7")

    assert (last.stdout, first.stdout) == ("hello\n", "hello\n")
    assert "attempt 2" in last.stderr
    assert "attempt 1" in first.stderr
    assert none.returncode == 2
    assert "no attempt 7; known are: 1, 2" in none.stderr
    assert daemon.process.poll() is None


def test_a_follower_sees_what_comes_and_ends_with_the_task(
    project: TalkingTasks, daemon: Daemon
) -> None:
    project.submit("long", seconds=60, beats=True, fails=1, prints=["begins"])
    with project.begin("logs", "long", "-f") as following:
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(3)]
        stopped = project.tasks("stop", "long", "--reason", "seen enough")
        assert stopped.returncode == 0, stopped.stderr
        rest, said = following.communicate(timeout=60)
    assert "begins\n" in lines
    assert any(line.startswith("beat") for line in [*lines, *rest.splitlines()])
    assert following.returncode == 0, said
    assert "attempt 2" in said
    assert daemon.process.poll() is None


def test_a_running_task_shows_its_stack_and_runs_on(project: TalkingTasks, daemon: Daemon) -> None:
    project.submit("deep", seconds=600)
    project.until("deep", State.RUNNING)

    for _ in range(2):
        done = project.tasks("stack", "deep")
        assert done.returncode == 0, done.stderr
        assert "in sleeps_deeply" in done.stdout
        assert "in work" in done.stdout

    project.tasks("stop", "deep")
    project.until("deep", State.STOPPED)
    ended = project.tasks("stack", "deep")
    assert ended.returncode == 2
    assert "no attempt of it runs" in ended.stderr
    assert "in sleeps_deeply" in project.tasks("logs", "deep").stdout
    assert daemon.process.poll() is None


def test_many_lines_make_a_short_log_with_both_ends(project: TalkingTasks, daemon: Daemon) -> None:
    project.submit("loud", lines=300_000, prints=["first"])
    project.until("loud", State.SUCCEEDED)

    done = project.tasks("logs", "loud")

    assert done.stdout.startswith("first\n")
    assert done.stdout.endswith("line 299999\n")
    assert 0.9 * MIB < len(done.stdout) < MIB + 1000
    assert daemon.process.poll() is None


def test_nobody_answers_where_no_daemon_runs(tmp_path: Path, kafka: Kafka) -> None:
    project = TalkingTasks(tmp_path, kafka)
    with project.daemon() as daemon:
        project.submit("s", seconds=100)
        project.until("s", State.RUNNING)
        daemon.kill()

    done = project.tasks("stack", "s", "--timeout", "2s")

    assert done.returncode == 1
    assert "E347" in done.stderr
    assert "no owner has taken the question" in done.stderr


def test_without_logs_there_is_no_topic_and_the_command_says_so(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = TalkingTasks(tmp_path, kafka)
    text = project.file.read_text().replace(
        f'{{"topic": "{project.logs}"}}', f'{{"topic": "{project.logs}", "logs": "off"}}'
    )
    project.file.write_text(text)
    with project.daemon():
        project.submit("s", prints=["x"])
        project.until("s", State.SUCCEEDED)

        done = project.tasks("logs", "s")

    assert done.returncode != 0
    assert f"topic {project.logs} does not exist" in done.stderr
    assert "history.logs" in done.stderr
