"""Owners that hear nothing for a while: no attempt is lost for that, and everything ends by itself.

Silence is that of an inbox that cannot be read, of a long take-over, or of a broker; each lasts
longer than an executor may be silent, or nearly as long as its lease.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from kafka_etl.broker import Cluster
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Stop, encode_word
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.task_faults import TaskRig, owns, until

SOON = 20.0
"""Seconds for what is done within two on a machine that has nothing else to do."""


def make(tmp_path: Path, kafka: Kafka, lost_after: str, **more: Any) -> TaskRig:
    operator = {"concurrency": 3, "lost_after": lost_after}
    return TaskRig(tmp_path, kafka, operator=operator, **more)


def run(rig: TaskRig, *ids: str, seconds: float) -> None:
    rig.submit(*({"id": task, "seconds": seconds} for task in ids))
    for task in ids:
        rig.until_state(task, State.RUNNING)


def ran_once(heads: dict[str, Head], *ids: str) -> None:
    for task in ids:
        attempts = [one.why for one in heads[task].attempts.last]
        assert (heads[task].state, attempts) == (State.SUCCEEDED, ["result"])


def stopped_soon(rig: TaskRig, task: str, since: float) -> None:
    head = rig.until_state(task, State.STOPPED)
    assert head.finished_ms / 1000 - since < SOON


def owner_of(daemon: Daemon) -> int:
    """The process of the owner: the accepting worker has the other name."""
    named = [p for p in daemon.get("/pipelines")["pipelines"] if p["name"].endswith(".tasks")]
    (worker,) = named[0]["workers"]
    return int(worker["pid"])


def test_an_open_transaction_of_a_stranger_makes_nobody_lost(tmp_path: Path, kafka: Kafka) -> None:
    rig = make(tmp_path, kafka, "15s")
    with rig.daemon("a") as daemon:
        owns(daemon)
        run(rig, "long", "stopped", seconds=40)
        stranger = Producer({**kafka.client, "transactional.id": kafka.name()})
        stranger.init_transactions(30)
        stranger.begin_transaction()
        word = encode_word(Stop(word="x", by="nobody"))
        stranger.produce(rig.inbox, None, "nobody", 0, headers=word.headers)
        assert stranger.flush(30) == 0
        began = time.monotonic()
        rig.submit({"id": "new"})
        rig.say("stopped", Stop(word="1", by="me"))
        while time.monotonic() - began < 25:
            assert rig.states() == {"long": State.RUNNING, "stopped": State.RUNNING}
            time.sleep(2)
        stranger.commit_transaction(30)
        readable = time.time()
        stopped_soon(rig, "stopped", readable)
        ran_once(rig.until_ended("long", "new", "stopped"), "long", "new")
        assert daemon.stop() == 0, daemon.said()
    assert rig.ran() == {"long": 1, "stopped": 1, "new": 1}


def test_a_long_take_over_makes_nobody_lost(tmp_path: Path, kafka: Kafka) -> None:
    rig = make(tmp_path, kafka, "40s")
    faults = rig.faults("a")
    with rig.daemon("a", faults) as daemon:
        owns(daemon)
        run(rig, "long", "stopped", seconds=45)
        faults.restore_takes(20)
        taken = daemon.said().count("took over")
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        rig.say("stopped", Stop(word="1", by="me"))
        until(lambda: daemon.said().count("took over") > taken, 90, daemon.said)
        stopped_soon(rig, "stopped", time.time())
        ran_once(rig.until_ended("long"), "long")
        assert daemon.stop() == 0, daemon.said()
    assert rig.ran() == {"long": 1, "stopped": 1}


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster.start(tmp_path / "kafka") as cluster:
        yield cluster


def test_a_broker_that_is_away_makes_nobody_lost(tmp_path: Path, own_cluster: Cluster) -> None:
    rig = make(tmp_path, Kafka(own_cluster.bootstrap), "50s")
    (node,) = own_cluster.nodes
    with rig.daemon("a") as daemon:
        owns(daemon)
        run(rig, "long", "stopped", seconds=60)
        run(rig, "meanwhile", seconds=5)
        node.kill()
        time.sleep(20)
        node.start()
        rig.say("stopped", Stop(word="1", by="me"))
        rig.submit({"id": "new"})
        ran_once(rig.until_ended("meanwhile", "new", "long"), "meanwhile", "new", "long")
        rig.until_state("stopped", State.STOPPED)
        assert daemon.stop() == 0, daemon.said()
    assert rig.ran() == {"long": 1, "stopped": 1, "meanwhile": 1, "new": 1}


def test_one_of_three_brokers_dies_and_comes_back(tmp_path: Path) -> None:
    """That which leads the group, the transactions and a part of the partitions, in turn."""
    with Cluster.start(tmp_path / "kafka", 3, heap="256m") as cluster:
        kafka = Kafka(cluster.bootstrap)
        rig = make(tmp_path, kafka, "50s", partitions=3)
        with rig.daemon("a") as daemon:
            owns(daemon, 3)
            run(rig, "long", "stopped", seconds=60)
            for at, node in enumerate(cluster.nodes):
                node.kill()
                rig.submit(*({"id": f"n{at}-{n}", "seconds": 0.2} for n in range(4)))
                time.sleep(8)
                node.start()
            rig.say("stopped", Stop(word="1", by="me"))
            short = [f"n{at}-{n}" for at in range(3) for n in range(4)]
            ran_once(rig.until_ended("long", *short, seconds=150), "long", *short)
            rig.until_state("stopped", State.STOPPED)
            assert daemon.stop() == 0, daemon.said()
        assert rig.outputs() == dict.fromkeys(["long", *short], 1)
        assert rig.ran() == dict.fromkeys(["long", "stopped", *short], 1)
