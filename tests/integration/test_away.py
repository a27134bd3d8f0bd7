"""Brokers that are away: a daemon waits for them, and says so."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_etl.broker import Cluster
from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders


@pytest.fixture(scope="module")
def unsteady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose one broker leaves and returns."""
    with Cluster.start(tmp_path_factory.mktemp("unsteady")) as cluster:
        yield cluster


def readiness(daemon: Daemon) -> int:
    try:
        daemon.get("/ready")
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def test_a_daemon_waits_for_its_broker_at_its_start_and_runs_on_without_a_restart(
    tmp_path: Path, unsteady: Cluster
) -> None:
    project = Project(tmp_path, Kafka(unsteady.bootstrap))
    project.produce(orders(10))
    (node,) = unsteady.nodes
    node.kill()
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: "no broker answered" in (p["trouble"] or ""), 20)
        daemon.until(lambda _: daemon.said().count("preflight begins again") > 0)
        assert (daemon.pipeline()["state"], readiness(daemon)) == ("preflight", 503)
        node.start()
        daemon.until(lambda p: p["counts"]["records_out"] == 10)
        node.kill()
        restart = ("restart", project.name, "--http", daemon.http)
        refused = command(*restart, cwd=tmp_path)
        assert refused.returncode == 1
        assert "error[E301]: the new version of" in refused.stderr
        assert daemon.pipeline()["state"] == "running"
        node.start()
        assert command(*restart, cwd=tmp_path).returncode == 0
        daemon.until(lambda p: p["state"] == "running" and readiness(daemon) == 200)
        status = daemon.pipeline()
        assert (status["error"], status["trouble"]) == (None, None)
        assert status["counts"]["records_out"] == 10
        assert "preflight begins again" in daemon.said()
        assert daemon.stop() == 0


@pytest.mark.parametrize("how", ["kill", "suspend"])
def test_with_nothing_to_do_it_says_that_no_broker_answers(
    tmp_path: Path, unsteady: Cluster, how: str
) -> None:
    project = Project(tmp_path, Kafka(unsteady.bootstrap))
    project.produce(orders(10))
    (node,) = unsteady.nodes
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] == 10 and p["lag"]["records"] == 0)
        node.kill() if how == "kill" else node.suspend()
        away = daemon.until(lambda p: "no broker answers (since 2" in (p["trouble"] or ""), 30)
        assert away["state"] == "running"
        daemon.until(lambda _: readiness(daemon) == 503)
        node.start() if how == "kill" else node.resume()
        daemon.until(lambda p: p["trouble"] is None and readiness(daemon) == 200)
        assert daemon.pipeline()["counts"]["records_out"] == 10
        assert daemon.stop() == 0


def test_with_much_to_do_it_says_that_no_broker_answers(tmp_path: Path, unsteady: Cluster) -> None:
    code = "import time\n\ndef op(order: dict):\n    time.sleep(0.002)\n    return order\n"
    project = Project(tmp_path, Kafka(unsteady.bootstrap), code=code, operators=["ops:op"])
    project.produce(orders(8000))
    (node,) = unsteady.nodes
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] > 500)
        node.kill()
        daemon.until(lambda p: (p["trouble"] or "").startswith("no broker answers ("), 30)
        time.sleep(8)
        assert "no broker answers (" in daemon.pipeline()["trouble"]
        node.start()
        daemon.until(lambda p: p["lag"]["records"] == 0 and p["trouble"] is None)
        assert daemon.stop() == 0
    assert project.lag() == 0
    assert sorted(o["id"] for o in project.outputs()) == list(range(8000))
