"""New versions of a running pipeline: checked beside it, and swapped without a record twice."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

FIRST = "def op(order: dict):\n    return order | {'version': 1}\n"
SECOND = "def op(order: dict):\n    return order | {'version': 2, 'longer': True}\n"
TYPO = "def op(order: dict):\n    return order | {\n"

SLOW = """
    import time
    from pathlib import Path

    def op(order: dict):
        if order["id"] == "slow":
            (Path(__file__).parent / "slow").touch()
            time.sleep(7)
        return order
"""


def make(tmp_path: Path, kafka: Kafka, workers: int = 2) -> Project:
    project = Project(tmp_path, kafka, code=FIRST, operators=["ops:op"], workers=workers)
    project.produce(orders(200))
    return project


def counted(daemon: Daemon, metric: str) -> float:
    found = re.search(
        rf"^kafka_etl_{metric}_total\{{.*\}} (.+)$", daemon.get("/metrics"), re.MULTILINE
    )
    assert found is not None
    return float(found[1])


def test_a_typo_leaves_the_running_version_and_its_records_alone(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = make(tmp_path, kafka)
    with Daemon(tmp_path, str(project.file), "--fail-on-dead-letter") as daemon:
        http = ("--http", daemon.http)
        project.produce(["{broken"])
        daemon.until(lambda p: p["counts"]["records_out"] == 200 and p["lag"]["records"] == 0)
        before = daemon.workers()

        project.write_code(TYPO)
        refused = command("restart", project.name, *http, cwd=tmp_path)
        assert refused.returncode == 2, refused.stderr
        assert "was not started, and nothing has changed" in refused.stderr
        assert "ops.py" in refused.stderr
        assert sorted(daemon.workers()) == sorted(before)
        assert daemon.pipeline()["state"] == "running"
        assert "was not started" in daemon.pipeline()["trouble"]
        project.produce(orders(100))
        daemon.until(lambda p: p["counts"]["records_out"] == 300)

        project.write_code(SECOND)
        done = command("restart", project.name, *http, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == f"{project.name}: running"
        assert not set(before) & set(daemon.workers())
        assert (counted(daemon, "records_in"), counted(daemon, "records_out")) == (301, 300)
        project.produce(orders(50))
        daemon.until(lambda p: p["counts"]["records_out"] == 350 and p["lag"]["records"] == 0)
        assert daemon.pipeline()["trouble"] is None
        assert daemon.stop() == 3  # the dead letter of the version before is not forgotten
    versions = [order["version"] for order in project.outputs()]
    assert (versions.count(1), versions.count(2)) == (300, 50)


def test_another_name_is_refused_and_no_record_comes_twice(tmp_path: Path, kafka: Kafka) -> None:
    project = make(tmp_path, kafka)
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] == 200 and p["lag"]["records"] == 0)
        project.spec["name"] = kafka.name()
        project.write()
        refused = command("restart", project.name, "--http", daemon.http, cwd=tmp_path)
        assert refused.returncode == 1
        assert "error[E507]" in refused.stderr
        assert "stop the daemon and run it again" in refused.stderr
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda p: "calls its pipeline" in (p["trouble"] or ""))
        project.produce(orders(20))
        daemon.until(lambda p: p["counts"]["records_out"] == 220)
        assert daemon.stop() == 0
    assert len(project.outputs()) == 220


def test_a_hangup_takes_new_versions_and_new_files(tmp_path: Path, kafka: Kafka) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    project = make(folder, kafka)
    with Daemon(tmp_path, str(folder)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] == 200)
        other = {**project.spec, "name": kafka.name()}
        (folder / "other.yaml").write_text(json.dumps(other))
        (folder / "bad.yaml").write_text("name: [")
        project.write_code(SECOND)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(
            lambda _: (
                {
                    (p["name"], p["state"], p["counts"]["records_out"])
                    for p in daemon.get("/pipelines")["pipelines"]
                }
                == {(project.name, "running", 200), (other["name"], "running", 200)}
            )
        )
        assert "bad.yaml" in daemon.said()
        assert daemon.stop() == 0
    versions = [order["version"] for order in project.outputs()]
    assert (versions.count(1), versions.count(2)) == (200, 200)


def test_a_stop_right_after_a_restart_is_a_stop(tmp_path: Path, kafka: Kafka) -> None:
    # One worker: the slow record's partition would move to the second one when that one joins.
    project = make(tmp_path, kafka, workers=1)
    project.write_code(SLOW)
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] == 200 and p["lag"]["records"] == 0)
        project.produce([json.dumps({"id": "slow"})])
        daemon.until(lambda _: (tmp_path / "slow").exists())
        answer = daemon.post(f"/pipelines/{project.name}/restart")
        assert not answer["settled"]
        daemon.until(lambda p: p["state"] == "draining")
        assert daemon.stop() == 0
        assert daemon.said().count('"event":"starts"') == 1
    assert project.lag() == 0
    assert len(project.outputs()) == 201


def test_pause_and_resume_are_over_when_they_show(tmp_path: Path, kafka: Kafka) -> None:
    project = make(tmp_path, kafka)
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] == 200)
        for verb, state in (("pause", "paused"), ("resume", "running")) * 3:
            done = command(verb, project.name, "--http", daemon.http, cwd=tmp_path)
            assert done.stderr.splitlines()[-1] == f"{project.name}: {state}"
            shown = command("status", "--http", daemon.http, cwd=tmp_path)
            assert shown.stdout.splitlines()[1].split()[:2] == [project.name, state]
        assert daemon.stop() == 0
