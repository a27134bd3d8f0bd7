"""Brokers that are away: a daemon waits for them, and says so."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_etl.broker import Cluster
from tests.kit.daemon import Daemon
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


def test_a_daemon_waits_for_its_broker_at_its_start_and_at_a_restart(
    tmp_path: Path, unsteady: Cluster
) -> None:
    project = Project(tmp_path, Kafka(unsteady.bootstrap))
    project.produce(orders(10))
    (node,) = unsteady.nodes
    node.kill()
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: "no broker answered" in (p["trouble"] or ""), 20)
        time.sleep(12)  # by then a preflight has given up
        assert (daemon.pipeline()["state"], readiness(daemon)) == ("preflight", 503)
        node.start()
        daemon.until(lambda p: p["counts"]["records_out"] == 10)
        node.kill()
        daemon.post(f"/pipelines/{project.name}/restart")
        daemon.until(lambda p: p["state"] == "preflight" and p["trouble"] is not None)
        time.sleep(12)
        node.start()
        daemon.until(lambda p: p["state"] == "running" and readiness(daemon) == 200)
        assert daemon.pipeline()["error"] is None
        assert "preflight begins again" in daemon.said()
        assert daemon.stop() == 0
