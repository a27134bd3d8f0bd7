"""Several workers, several daemons, partitions that come and go, brokers that leave."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kafka_etl.broker import Cluster
from tests.kit.check import problems
from tests.kit.daemon import Daemon, command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

SLOW = """
    import time

    def op(order: dict):
        time.sleep(0.002)
        return order
"""


def check(project: Project) -> None:
    kafka = project.kafka
    wrong = problems(kafka.read(project.source), kafka.read(project.sink), project.dead_letters())
    assert (wrong, project.lag()) == ([], 0)


@contextmanager
def flow(project: Project, seconds: float, rate: int = 1000) -> Iterator[None]:
    """Produces orders at a steady rate while the block runs."""

    def produce() -> None:
        until = time.monotonic() + seconds
        at = 0
        while time.monotonic() < until:
            batch = [(f"k{i % 50}", json.dumps({"id": i})) for i in range(at, at + rate // 10)]
            project.produce(batch)
            at += len(batch)
            time.sleep(0.1)

    thread = threading.Thread(target=produce)
    thread.start()
    yield
    thread.join()


def test_two_workers_share_the_partitions(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, workers=2)
    project.produce(orders(20_000))
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    check(project)


def test_a_second_daemon_comes_and_goes_in_mid_stream(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, code=SLOW, operators=["ops:op"], workers=2, partitions=8)
    more = ["--set", "source.with.membership=dynamic"]
    other = tmp_path / "other"
    other.mkdir()
    with Daemon(tmp_path, str(project.file), *more) as first, flow(project, 30, rate=600):
        first.until(lambda p: p["counts"]["records_out"] > 100)
        with Daemon(other, str(project.file), *more) as second:
            second.until(lambda p: p["counts"]["records_out"] > 50)
            assert second.stop() == 0
        first.until(lambda p: p["partitions"] == 8)
    with Daemon(tmp_path, str(project.file), *more) as last:
        last.until(lambda p: p["partitions"] == 8 and p["lag"]["records"] == 0)
        assert last.stop() == 0
    check(project)


def test_partitions_that_are_added_are_read_from_their_beginning(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(tmp_path, kafka, partitions=2, source={"start": "latest"})
    fast = ["--set", "kafka.topic.metadata.refresh.interval.ms=500"]
    with Daemon(tmp_path, str(project.file), *fast) as daemon:
        daemon.until(lambda p: p["partitions"] == 2)
        kafka.add_partitions(project.source, 4)
        project.produce(
            [{"value": json.dumps({"id": n}), "partition": n} for n in range(4)],
            **{"topic.metadata.refresh.interval.ms": 200},
        )
        daemon.until(lambda p: p["counts"]["records_out"] == 4)
        daemon.stop()
    assert sorted(o["id"] for o in project.outputs()) == [0, 1, 2, 3]


def test_a_slow_operator_makes_progress_through_constant_rebalances(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = "import time\n\ndef op(order: dict):\n    time.sleep(0.05)\n    return order\n"
    project = Project(tmp_path, kafka, code=code, operators=["ops:op"], partitions=4)
    project.produce(orders(400))
    more = ["--set", "source.with.membership=dynamic"]
    other = tmp_path / "other"
    other.mkdir()
    with Daemon(tmp_path, str(project.file), *more) as daemon:
        daemon.until(lambda p: p["state"] == "running")
        for _ in range(2):
            with Daemon(other, str(project.file), *more) as guest:
                guest.until(lambda p: p["partitions"] > 0)
                guest.stop()
        daemon.until(lambda p: p["partitions"] == 4 and p["lag"]["records"] == 0, 90)
        assert daemon.pipeline()["counts"]["rebalances"] >= 3
        daemon.stop()
    check(project)


def test_two_daemons_of_one_name_do_no_harm_and_one_says_why_it_stops(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(tmp_path, kafka, code=SLOW, operators=["ops:op"])
    other = tmp_path / "other"
    other.mkdir()
    same = ["--instance", "twin"]
    with (
        flow(project, 20, rate=500),
        Daemon(tmp_path, str(project.file), *same) as first,
        Daemon(other, str(project.file), *same) as second,
    ):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            over = [d for d in (first, second) if d.process.poll() is not None]
            if over:
                break
            time.sleep(0.2)
        assert over, first.said()[-2000:]
        assert over[0].process.returncode == 1
        assert '"code":"E403"' in over[0].said()
        assert f"kafka-etl.{project.name}.twin.0" in over[0].said()
        assert "--instance" in over[0].said()
    run_to_end(tmp_path, str(project.file), *same)
    check(project)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster.start(tmp_path / "kafka") as cluster:
        yield cluster


def test_a_broker_that_goes_away_and_comes_back(tmp_path: Path, own_cluster: Cluster) -> None:
    kafka = Kafka(own_cluster.bootstrap)
    project = Project(tmp_path, kafka, code=SLOW, operators=["ops:op"])
    project.produce(orders(15_000))
    (node,) = own_cluster.nodes
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] > 500)
        node.kill()
        daemon.until(lambda p: p["trouble"] is not None, 60)
        time.sleep(15)
        node.start()
        daemon.until(lambda p: p["lag"]["records"] == 0 and p["trouble"] is None, 120)
        assert daemon.pipeline()["counts"]["worker_deaths"] == 0
        assert daemon.stop() == 0
    check(project)


def test_a_broker_that_hangs_for_a_while(tmp_path: Path, own_cluster: Cluster) -> None:
    kafka = Kafka(own_cluster.bootstrap)
    project = Project(tmp_path, kafka, code=SLOW, operators=["ops:op"])
    project.produce(orders(15_000))
    (node,) = own_cluster.nodes
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] > 500)
        for _ in range(2):
            node.suspend()
            time.sleep(12)
            node.resume()
            time.sleep(4)
        daemon.until(lambda p: p["lag"]["records"] == 0 and p["partitions"] == 4, 120)
        assert daemon.stop() == 0
    check(project)


def test_a_suspended_worker_that_wakes_up_writes_nothing_twice(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(tmp_path, kafka, code=SLOW, operators=["ops:op"])
    project.produce(orders(10_000))
    other = tmp_path / "other"
    other.mkdir()
    more = ["--set", "source.with.membership=dynamic"]
    with Daemon(tmp_path, str(project.file), *more) as first:
        first.until(lambda p: p["counts"]["records_out"] > 500)
        (worker,) = first.workers()
        # The daemon must not see it standing still and kill it: that is another test.
        first.process.send_signal(signal.SIGSTOP)
        subprocess.run(["kill", "-STOP", str(worker)], check=True)
        with Daemon(other, str(project.file), *more) as second:
            second.until(lambda p: p["partitions"] == 4 and p["counts"]["records_out"] > 500, 60)
            subprocess.run(["kill", "-CONT", str(worker)], check=True)
            first.process.send_signal(signal.SIGCONT)
            second.until(lambda p: p["lag"]["records"] == 0, 60)
            first.until(lambda p: p["lag"]["records"] == 0, 60)
    run_to_end(tmp_path, str(project.file), *more)
    check(project)


@pytest.mark.parametrize("renamed", [True, False], ids=["another group", "the daemon's own group"])
def test_a_run_to_the_end_beside_a_daemon_needs_no_option(
    tmp_path: Path, kafka: Kafka, renamed: bool
) -> None:
    """The way one works on a pipeline while a daemon runs it."""
    project = Project(tmp_path, kafka, code="def same(v: dict) -> dict: return v")
    project.spec["operators"] = ["ops:same"]
    project.write()
    project.produce(orders(300))
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["records_out"] == 300)
        project.produce(orders(300))
        sets = ("--set", f"name={project.name}-look") if renamed else ()
        state = ("--state-dir", str(tmp_path / "state"))
        done = command("run", str(project.file), "--until-end", *state, *sets, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        begins, *_ = (json.loads(line) for line in done.stderr.splitlines())
        assert begins["instance"] == f"{daemon.get('/pipelines')['instance']}-2"
        wanted = 1200 if renamed else 600
        if renamed:
            daemon.until(lambda p: p["counts"]["records_out"] == 600)
        assert len(project.outputs()) == wanted
        assert daemon.stop() == 0
