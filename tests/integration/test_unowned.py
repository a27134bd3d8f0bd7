"""A static member that is killed while it gives partitions up leaves none without an owner."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

MEMBER = """
import os, signal, sys
from confluent_kafka import Consumer

bootstrap, group, instance, topic = sys.argv[1:]


def dies(consumer, partitions):
    os.kill(os.getpid(), signal.SIGKILL)


consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "group.instance.id": instance,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 45_000,
    }
)
consumer.subscribe([topic], on_revoke=dies)
while True:
    consumer.poll(0.1)
    print(len(consumer.assignment()), flush=True)
"""


def member(made: Project, kafka: Kafka, worker: int) -> subprocess.Popen[str]:
    """Start a bare member in place of a worker, which dies as soon as partitions are taken."""
    instance = f"kafka-etl.{made.name}.tests.{worker}"
    return subprocess.Popen(
        [sys.executable, "-c", MEMBER, kafka.bootstrap, made.name, instance, made.source],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_partitions_that_a_killed_member_gave_up_find_an_owner(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = Project(tmp_path, kafka, partitions=4)
    made.spec["workers"] = 2
    made.write()
    made.produce(orders(400))
    with member(made, kafka, 0) as first:
        assert first.stdout is not None
        while int(first.stdout.readline()) < 4:
            continue
        with member(made, kafka, 1) as second:
            assert first.wait(30) == -signal.SIGKILL  # in the middle of the rebalance
            second.kill()
    with Daemon(tmp_path, str(made.file), "--instance", "tests") as daemon:
        daemon.until(lambda _: len(made.outputs()) == 400)
        assert "no member reads some partitions" in daemon.said()
        assert daemon.stop() == 0, daemon.said()
    assert len(made.outputs()) == 400
