"""Tasks on two daemons whose processes are killed all the time, and what becomes of each.

    python -m tests.bench.task_kills [--tasks N] [--longest S] [--slots N] [--every S] [--seed N]

A victim is a runner, a keeper, an owner or a daemon, killed with SIGKILL. The kills end once nine
tenths of the tasks are over. At the end each task must have one final state, each success one
output, and each failure one dead letter; no task may ever have run twice at the same time; and no
process may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from kafka_etl.broker import Cluster
from kafka_etl.runtime.tasks.exchange import TOKEN
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.states import FINAL, State
from tests.kit.kafka import Kafka
from tests.kit.tasks import Hosts, children, runners_of

_LONGEST_RUN = 3600.0
_LAST = 0.1
"""Share of the tasks that may end in peace."""


class Killer:
    """Two daemons, and who kills what they run.

    Attributes:
        killed: Victim -> kills.
    """

    def __init__(self, hosts: Hosts, chance: random.Random) -> None:
        self._hosts = hosts
        self._chance = chance
        self.daemons = {name: hosts.host(name) for name in ("a", "b")}
        self.killed: Counter[str] = Counter()

    def kill(self) -> None:
        """Kill one process of one daemon; a daemon that was killed is started again."""
        name = self._chance.choice(sorted(self.daemons))
        daemon = self.daemons[name]
        victim = self._chance.choice(["runner", "runner", "keeper", "owner", "owner", "daemon"])
        pid = daemon.process.pid
        keepers = children(pid, "tasks.keeper")
        victims = {
            "runner": [runner for keeper in keepers for runner in runners_of(keeper)],
            "keeper": keepers,
            "owner": daemon.workers(),
            "daemon": [pid],
        }[victim]
        if not victims:
            return
        with suppress(ProcessLookupError):
            os.kill(self._chance.choice(victims), signal.SIGKILL)
            self.killed[victim] += 1
        if victim == "daemon":
            daemon.process.wait()
            self.daemons[name] = self._hosts.host(name)

    def stop(self) -> None:
        for daemon in self.daemons.values():
            daemon.process.send_signal(signal.SIGTERM)
        for name, daemon in self.daemons.items():
            status = daemon.wait(60)
            if status != 0:
                raise AssertionError(f"daemon {name} ended with {status}: {daemon.said()[-3000:]}")


def run(hosts: Hosts, options: argparse.Namespace) -> tuple[Counter[str], dict[str, Head], float]:
    """Kill until the tasks are over; return the kills, the heads and the seconds."""
    chance = random.Random(options.seed)
    killer = Killer(hosts, chance)
    hosts.submit(
        *(
            {"id": f"t{n}", "seconds": chance.uniform(1, options.longest)}
            for n in range(options.tasks)
        )
    )
    began, kill_at = time.monotonic(), time.monotonic() + 15
    try:
        while True:
            heads = hosts.heads()
            done = sum(head.state in FINAL for head in heads.values())
            now = time.monotonic()
            say(f"{now - began:6.0f} s: {done:,} over, {sum(killer.killed.values())} kills")
            if done == options.tasks:
                break
            if now - began > _LONGEST_RUN:
                raise AssertionError(f"{options.tasks - done} tasks have not ended")
            for _ in range(5):
                time.sleep(1)
                if time.monotonic() >= kill_at and done < options.tasks * (1 - _LAST):
                    killer.kill()
                    kill_at = time.monotonic() + options.every
        took = time.monotonic() - began
        killer.stop()
    except BaseException:
        for daemon in killer.daemons.values():
            daemon.kill()
        raise
    return killer.killed, heads, took


def faults(hosts: Hosts, heads: dict[str, Head]) -> list[str]:
    """What is not as it must be."""
    found: list[str] = []
    succeeded = Counter(task for task, head in heads.items() if head.state is State.SUCCEEDED)
    outputs = hosts.outputs()
    letters = Counter(letter["requestContext"]["requestId"] for letter in hosts.failures())
    if outputs != succeeded:
        found.append(f"outputs: {dict((outputs - succeeded) + (succeeded - outputs))}")
    failed = Counter(task for task, head in heads.items() if head.state is not State.SUCCEEDED)
    if letters != failed:
        found.append(f"dead letters: {dict((letters - failed) + (failed - letters))}")
    if hosts.overlaps:
        found.append("a task ran twice at the same time")
    left = [pid for pid in tokens() if pid != os.getpid()]
    if left:
        found.append(f"processes left: {left}")
    return found


def tokens() -> list[int]:
    """Process ids of all attempts."""
    found: list[int] = []
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdecimal() and f"{TOKEN}=".encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--longest", type=float, default=6.0)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--every", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster.start(Path(folder) / "kafka") as cluster:
        place = Path(folder) / "tasks"
        place.mkdir()
        retry = {"max_attempts": 10, "backoff": {"initial": "100ms", "max": "1s"}}
        hosts = Hosts(place, Kafka(cluster.bootstrap), concurrency=options.slots, retry=retry)
        killed, heads, took = run(hosts, options)
        wrong = faults(hosts, heads)
        ends = Counter(one.why for head in heads.values() for one in head.attempts.last)
        say(f"{len(heads):,} tasks in {took:.0f} s; kills: {dict(killed)}")
        say(f"ends of attempts: {dict(ends)}")
        say(f"states: {dict(Counter(head.state.value for head in heads.values()))}")
        if wrong:
            say(hosts.said())
        say("; ".join(wrong) or "OK: one final state each, no output lost or doubled")
    return bool(wrong)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
