"""Task mode on a real Kafka: each task has one outcome, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Retry, Stop
from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.tasks import Tasks


@pytest.fixture
def tasks(tmp_path: Path, kafka: Kafka) -> Tasks:
    return Tasks(tmp_path, kafka)


def test_tasks_run_and_each_has_one_outcome(tasks: Tasks) -> None:
    tasks.submit(
        *({"id": f"t{n}"} for n in range(10)), {"id": "bad", "bad": 1}, {"id": "f", "fails": 1}
    )
    tasks.submit({"id": "t1"}, {"id": "d", "dies": 1})
    with tasks.daemon() as daemon:
        heads = tasks.until(daemon, 13)
        assert daemon.stop() == 0, daemon.said()
    assert {task for task, head in heads.items() if head.state is State.SUCCEEDED} == {
        f"t{n}" for n in range(10)
    }
    assert tasks.outputs() == Counter(f"t{n}" for n in range(10))
    assert heads["t1"].duplicates == 1
    assert (heads["bad"].state, heads["bad"].attempts.total) == (State.FAILED, 1)
    assert (heads["f"].state, heads["f"].attempts.total) == (State.FAILED, 2)
    assert heads["d"].error is not None
    assert heads["d"].error.type == "WorkerCrashed"
    assert tasks.ran() == Counter({**{f"t{n}": 1 for n in range(10)}, "bad": 1, "f": 2, "d": 2})
    conditions = Counter(letter["requestContext"]["condition"] for letter in tasks.failures())
    assert conditions == {"OperatorError": 2, "WorkerCrashed": 1}


def test_a_stopped_task_ends_and_can_be_retried(tasks: Tasks) -> None:
    tasks.submit({"id": "long", "seconds": 60}, {"id": "other", "seconds": 60})
    with tasks.daemon() as daemon:
        while Counter(tasks.states().values())[State.RUNNING] < 2:
            time.sleep(0.2)
        # Submitted when both slots are taken: nothing orders tasks of several partitions.
        tasks.submit({"id": "waits"})
        while "waits" not in tasks.states():
            time.sleep(0.2)
        tasks.say("waits", Stop(word="1", by="me"))
        tasks.say("long", Stop(word="2", by="me", reason="too long"))
        tasks.say("other", Stop(word="3", by="me", force=True))
        heads = tasks.until(daemon, 3, 20)
        assert {head.state for head in heads.values()} == {State.STOPPED}
        assert tasks.ran()["waits"] == 0
        tasks.say("waits", Retry(word="4", expect=1))
        while tasks.states()["waits"] is not State.SUCCEEDED:
            time.sleep(0.2)
        assert daemon.stop() == 0, daemon.said()
    assert tasks.outputs() == {"waits": 1}
    assert len(tasks.failures()) == 3


def test_a_run_goes_on_while_owners_die(tasks: Tasks) -> None:
    tasks.submit(
        {"id": "long", "seconds": 12}, *({"id": f"t{n}", "seconds": 0.3} for n in range(20))
    )
    with tasks.daemon() as daemon:
        while tasks.ran()["long"] == 0:
            time.sleep(0.2)
        for _ in range(3):
            time.sleep(1.5)
            for pid in daemon.workers():
                os.kill(pid, signal.SIGKILL)
        heads = tasks.until(daemon, 21, 90)
        assert daemon.stop() == 0, daemon.said()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert tasks.outputs() == Counter({"long": 1, **{f"t{n}": 1 for n in range(20)}})
    assert tasks.ran()["long"] == 1
    assert heads["long"].attempts.total == 1


def test_a_daemon_that_is_killed_leaves_nothing_and_its_tasks_run_again(tasks: Tasks) -> None:
    tasks.submit(*({"id": f"t{n}", "seconds": 1} for n in range(6)))
    with tasks.daemon() as daemon:
        while sum(tasks.ran().values()) < 2:
            time.sleep(0.2)
        daemon.process.kill()
        daemon.process.wait()
    with tasks.daemon() as daemon:
        heads = tasks.until(daemon, 6, 90)
        assert daemon.stop() == 0, daemon.said()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert tasks.outputs() == Counter(f"t{n}" for n in range(6))


def test_a_daemon_that_stops_interrupts_and_the_next_one_goes_on(tasks: Tasks) -> None:
    tasks.submit({"id": "long", "seconds": 5})
    with tasks.daemon() as daemon:
        while tasks.ran()["long"] == 0:
            time.sleep(0.2)
        assert daemon.stop() == 0, daemon.said()
    head = tasks.heads()["long"]
    assert head.state in {State.RETRYING, State.ENQUEUED}
    assert (head.attempts.counted, head.attempts.interruptions) == (0, 1)
    with tasks.daemon() as daemon:
        tasks.until(daemon, 1, 60)
        assert daemon.stop() == 0, daemon.said()
    assert tasks.outputs() == {"long": 1}


PAGE = Path(__file__).parents[3] / "docs/tasks/pipelines.md"
README = Path(__file__).parents[3] / "README.md"


def block(text: str, language: str, after: str = "") -> str:
    """The first block of a language, behind a text."""
    return text[text.index(after) :].split(f"```{language}\n")[1].split("```", maxsplit=1)[0]


def test_the_pipeline_of_the_page_runs(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA", kafka.bootstrap)
    page = PAGE.read_text()
    (tmp_path / "transcode.yaml").write_text(block(page, "yaml"))
    (tmp_path / "video.py").write_text(block(page, "python"))
    kafka.topic(1, "uploads")
    film = '{"object": "a.mov", "format": "mp4"}'
    with Daemon(tmp_path, "transcode.yaml", "--instance", "page") as daemon:
        kafka.produce("uploads", [(None, film)])
        deadline = time.monotonic() + 60
        while "videos" not in kafka.admin.list_topics(timeout=10).topics or not kafka.read(
            "videos"
        ):
            assert time.monotonic() < deadline, daemon.said()
            time.sleep(0.3)
        shown = command("tasks", "show", "transcode.yaml", "a.mov#mp4", "--json", cwd=tmp_path)
        assert json.loads(shown.stdout)["state"] == "Succeeded", shown.stderr
        assert daemon.stop() == 0, daemon.said()
    assert [json.loads(r.value or b"") for r in kafka.read("videos")] == [json.loads(film)]


def test_tasks_have_no_end(tasks: Tasks) -> None:
    done = command("run", str(tasks.file), "--until-end", cwd=tasks.folder)
    assert done.returncode == 2
    assert "`mode: task`, which has no end" in " ".join(done.stderr.replace("│", " ").split())


def test_the_pipeline_of_the_readme_is_valid(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(block(README.read_text(), "yaml", "## Long tasks"))
    (tmp_path / "video.py").write_text("def transcode(task: dict) -> dict:\n    return task\n")
    done = command("validate", "p.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_source_waits_while_too_many_tasks_are_open(tmp_path: Path, kafka: Kafka) -> None:
    tasks = Tasks(tmp_path, kafka, max_open=4)
    with tasks.daemon() as daemon:
        tasks.submit(*({"id": f"t{n}", "seconds": 15} for n in range(4)))
        while len(tasks.heads()) < 4:
            time.sleep(0.2)
        time.sleep(1.5)  # the door is looked at once a second
        tasks.submit(*({"id": f"t{n}", "seconds": 0.1} for n in range(4, 12)))
        daemon.until(lambda status: "max_open" in (status["trouble"] or ""), 30)
        assert len(tasks.heads()) == 4
        tasks.until(daemon, 12, 120)
        assert daemon.stop() == 0, daemon.said()
    assert len(tasks.outputs()) == 12
