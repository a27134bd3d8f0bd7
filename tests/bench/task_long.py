"""A long task on one host, while everything but that host comes, goes and is started again.

    python -m tests.bench.task_long [--seconds S] [--moves N]

Host `a` runs the task. Hosts `b` and `c` come and go, so that the partition of the task moves; in
between the owner of `a` is killed, and the broker is started again. At the end the task must have
had one attempt and one output, though partitions have moved at least so many times.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from kafka_etl.broker import Cluster
from kafka_etl.tasks.journal import Kind, decode_mark
from kafka_etl.tasks.states import FINAL, State
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.task_parts import journal_of
from tests.kit.tasks import Hosts


def writers(hosts: Hosts, number: int) -> list[str]:
    """The owners of a partition, one after the other, as the marks in the journal name them."""
    found: list[str] = []
    for kind, _, value, partition in journal_of(hosts.kafka, hosts.name):
        if kind is Kind.MARK and partition == number and value is not None:
            writer = decode_mark(value).writer
            if not found or found[-1] != writer:
                found.append(writer)
    return found


def until(hosts: Hosts, state: State, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while hosts.states().get("long") is not state:
        if time.monotonic() > deadline:
            raise AssertionError(f"the task is {hosts.states().get('long')}: {hosts.said()}")
        time.sleep(0.5)


def come_and_go(hosts: Hosts, cluster: Cluster, first: Daemon, moves: int, pause: float) -> None:
    """Let hosts `b` and `c` come and go, each a restart of the other; kill owners and the broker.

    Args:
        pause: Seconds between two moves.
    """
    with ExitStack() as stack:
        other: Daemon | None = None
        for move in range(moves):
            began = time.monotonic()
            comes = stack.enter_context(hosts.host("bc"[move % 2]))
            if other is not None and other.stop() != 0:
                raise AssertionError(other.said()[-3000:])
            other = comes
            match move % 5:
                case 2:
                    for owner in first.workers():
                        os.kill(owner, signal.SIGKILL)
                case 4:
                    (node,) = cluster.nodes
                    node.kill()
                    node.start()
                case _:
                    pass
            time.sleep(max(0.0, pause - (time.monotonic() - began)))
            say(f"move {move + 1}: the task is {hosts.states()['long'].value}")
        if other is not None and other.stop() != 0:
            raise AssertionError(other.said()[-3000:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--moves", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster.start(Path(folder) / "kafka") as cluster:
        place = Path(folder) / "tasks"
        place.mkdir()
        hosts = Hosts(place, Kafka(cluster.bootstrap), timeout="2h", lost_after="60s")
        hosts.submit({"id": "long", "seconds": options.seconds})
        with hosts.host("a") as first:
            until(hosts, State.RUNNING, 90)
            pause = options.seconds / (options.moves + 1)
            come_and_go(hosts, cluster, first, options.moves, pause)
            until(hosts, State.SUCCEEDED, options.seconds)
            status = first.stop()
        head = hosts.heads()["long"]
        moved = sum(len(writers(hosts, number)) - 1 for number in range(2))
        say(f"{head.state.value}; attempts: {head.attempts.total}, by {head.executor}")
        say(f"partitions have moved {moved} times")
        fine = (
            status == 0
            and head.state in FINAL
            and head.attempts.total == 1
            and hosts.outputs() == hosts.ran() == Counter(["long"])
            and not hosts.overlaps
            and moved >= options.moves
        )
        say("OK: one attempt, one output" if fine else hosts.said())
    return not fine


def say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
