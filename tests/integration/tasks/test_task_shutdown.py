"""What becomes of attempts when their daemon is stopped: `on_shutdown`."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.tasks.states import State
from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.keeper import RunningKeeper
from tests.kit.task_project import TaskProject, processes_with

CODE = """
    import os, time
    from pathlib import Path

    def work(value: dict) -> dict:
        Path(value["id"]).write_text("began")
        while not Path(f"{value['id']}.may-end").exists():
            time.sleep(0.05)
        return {"done": value["id"]}
"""


def begun(project: TaskProject, daemon: Daemon, *tasks: str) -> None:
    """Wait until the operator runs for these tasks."""
    deadline = time.monotonic() + 60
    while not all((project.folder / task).exists() for task in tasks):
        assert time.monotonic() < deadline, daemon.said()[-3000:]
        time.sleep(0.1)


def until_said(daemon: Daemon, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in daemon.said():
        assert time.monotonic() < deadline, daemon.said()[-3000:]
        time.sleep(0.1)


def test_attempts_may_end_and_what_waits_stays_for_others(tmp_path: Path, kafka: Kafka) -> None:
    project = TaskProject(tmp_path, kafka, CODE, operator={"concurrency": 1}, on_shutdown="finish")
    project.submit({"id": "long"})
    with project.daemon() as daemon:
        begun(project, daemon, "long")
        project.submit({"id": "waits"})
        project.until_state(daemon, "waits", State.ENQUEUED)
        daemon.process.send_signal(signal.SIGTERM)
        until_said(daemon, "attempts may end")
        (tmp_path / "long.may-end").touch()
        assert daemon.wait(60) == 0, daemon.said()[-3000:]
    heads = project.heads()
    assert heads["long"].state is State.SUCCEEDED
    assert heads["waits"].state is State.ENQUEUED
    assert heads["waits"].attempts.total == 0
    assert project.outputs() == {'{"done":"long"}': 1}
    assert not (tmp_path / "waits").exists()


def test_a_second_signal_interrupts(tmp_path: Path, kafka: Kafka) -> None:
    project = TaskProject(tmp_path, kafka, CODE, on_shutdown="finish")
    project.submit({"id": "long"})
    with project.daemon() as daemon:
        begun(project, daemon, "long")
        token = project.until_state(daemon, "long", State.RUNNING).token
        daemon.process.send_signal(signal.SIGTERM)
        until_said(daemon, "attempts may end")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0, daemon.said()[-3000:]
    head = project.heads()["long"]
    assert head.state in {State.RETRYING, State.ENQUEUED}
    assert (head.attempts.counted, head.attempts.interruptions) == (0, 1)
    assert not processes_with(token)


def test_attempts_that_take_longer_than_they_may_are_interrupted(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = TaskProject(tmp_path, kafka, CODE, on_shutdown="finish", drain_timeout="6s")
    project.submit({"id": "long"})
    with project.daemon() as daemon:
        begun(project, daemon, "long")
        project.until_state(daemon, "long", State.RUNNING)
        begin = time.monotonic()
        assert daemon.stop(90) == 0, daemon.said()[-3000:]
        assert time.monotonic() - begin > 6
    assert project.heads()["long"].attempts.interruptions == 1


def test_a_run_goes_on_while_its_owner_dies_in_a_shutdown(tmp_path: Path, kafka: Kafka) -> None:
    project = TaskProject(tmp_path, kafka, CODE, on_shutdown="finish")
    project.submit({"id": "long"})
    with project.daemon() as daemon:
        begun(project, daemon, "long")
        project.until_state(daemon, "long", State.RUNNING)
        daemon.process.send_signal(signal.SIGTERM)
        until_said(daemon, "attempts may end")
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        (tmp_path / "long.may-end").touch()
        assert daemon.wait(90) == 0, daemon.said()[-3000:]
    # The result is in the inbox; the owner may have had no time to read it.
    with project.daemon() as daemon:
        until_said(daemon, "took over")
        head = project.until_state(daemon, "long")
        assert daemon.stop() == 0, daemon.said()[-3000:]
    assert (head.state, head.attempts.total) == (State.SUCCEEDED, 1)
    assert project.outputs() == {'{"done":"long"}': 1}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"drain_timeout": "5s"}, "`drain_timeout` (5s) should be at least `stop_grace` and 5s"),
        ({"on_shutdown": "finnish"}, "on_shutdown"),
    ],
)
def test_settings_of_a_shutdown_are_checked(
    tmp_path: Path, kafka: Kafka, settings: dict[str, Any], said: str
) -> None:
    project = TaskProject(tmp_path, kafka, CODE, **settings)
    done = command("validate", str(project.file), cwd=tmp_path)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_a_keeper_lets_attempts_end_and_takes_no_other(tmp_path: Path) -> None:
    code = """
        import time
        from pathlib import Path
        def job(value: dict) -> dict:
            while not Path(value["file"]).exists():
                time.sleep(0.02)
            return value
    """
    file = tmp_path / "may-end"
    with RunningKeeper(tmp_path, code, slots=2, finish_within=30.0) as keeper:
        owner = keeper.owner()
        owner.grant("a", {"file": str(file)})
        owner.started("a")
        keeper.child.signal(signal.SIGTERM)
        owner.word("Alive")
        owner.grant("b", {"file": str(file)})

        assert type(owner.last("b").word).__name__ == "Returned"
        file.touch()
        assert json.loads(owner.last("a").word.preview) == {"file": str(file)}
        owner.acknowledge("a")
        owner.acknowledge("b")
        assert keeper.exit_status() == 0


def test_a_keeper_that_is_told_twice_at_once_interrupts(tmp_path: Path) -> None:
    code = """
        import time
        def job(value: dict) -> dict:
            time.sleep(60)
            return value
    """
    with RunningKeeper(tmp_path, code, finish_within=60.0) as keeper:
        owner = keeper.owner()
        owner.grant("a", {})
        owner.started("a")
        keeper.child.signal(signal.SIGTERM)
        keeper.child.signal(signal.SIGINT)

        assert owner.last("a").word.why == "interrupted"
        owner.acknowledge("a")
        assert keeper.exit_status() == 0
