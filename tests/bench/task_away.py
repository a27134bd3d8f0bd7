"""Destinations of tasks that are away for an hour, and what comes to them after that.

    python -m tests.bench.task_away [--away S] [--every S]

Results go to a PostgreSQL table, to an HTTP server and to a topic. Both servers are away while
tasks go on, and half-way the daemon is started again. At the end the table must have each result
once, the HTTP server at least once, and under one idempotency key each; every task must have had
one attempt.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from kafka_etl.broker import Cluster
from kafka_etl.tasks.states import State
from tests.kit.daemon import Daemon
from tests.kit.http_target import Target
from tests.kit.http_target import target as http_target
from tests.kit.kafka import Kafka
from tests.kit.postgres import PASSWORD, USER, Postgres, running
from tests.kit.tasks import Tasks

_LOOK_EVERY = 30.0
_FIRST = 20


class Away:
    """The pipeline, its two servers, and how many tasks it was given."""

    def __init__(self, folder: Path, kafka: Kafka, server: Postgres, target: Target) -> None:
        self.server, self.target = server, target
        self.database = server.database()
        server.execute(self.database, "CREATE TABLE results (done text)")
        where = {"url": f"postgresql://{USER}@127.0.0.1:{server.port}/{self.database}"}
        self.tasks = Tasks(
            folder,
            kafka,
            on_success=[
                {"use": "postgres", "with": {**where, "password": PASSWORD, "table": "results"}},
                {"use": "http", "with": {"url": target.url, "idempotent": True}},
                {"use": "kafka", "with": {"topic": kafka.topic(1)}},
            ],
        )
        self.given = 0

    def submit(self, count: int = 1) -> None:
        self.tasks.submit(*({"id": f"t{self.given + n}"} for n in range(count)))
        self.given += count

    def states(self) -> Counter[State]:
        return Counter(self.tasks.states().values())

    def until_over(self, daemon: Daemon, seconds: float) -> float:
        """Wait until every task has succeeded; return the seconds."""
        began = time.monotonic()
        while (states := self.states())[State.SUCCEEDED] < self.given:
            if time.monotonic() - began > seconds:
                raise AssertionError(f"{dict(states)}: {daemon.said()[-3000:]}")
            time.sleep(0.5)
        return time.monotonic() - began

    def stay_away(self, daemon: Daemon, seconds: float, every: float) -> None:
        """Give a task every so many seconds, while the servers are away."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.submit()
            if self.given % max(1, round(_LOOK_EVERY / every)) == 0:
                say(f"{left:5.0f} s: {_shown(self.states())}")
            if daemon.process.poll() is not None:
                raise AssertionError(daemon.said()[-3000:])
            time.sleep(min(every, left))

    def faults(self) -> list[str]:
        """What is not as it must be."""
        wanted = Counter(f"t{n}" for n in range(self.given))
        rows = Counter(self.server.query(self.database, "SELECT done FROM results"))
        keys: dict[str, set[str]] = {}
        for request in self.target.taken:
            done = json.loads(request.body)["done"]
            keys.setdefault(done, set()).add(request.headers["idempotency-key"])
        found = [] if rows == wanted else [f"table: {(rows - wanted) + (wanted - rows)}"]
        if keys.keys() != wanted.keys() or any(len(each) != 1 for each in keys.values()):
            found.append("the HTTP server has not each result, under one key")
        ran = self.tasks.ran()
        if ran != wanted:
            found.append(f"attempts: {(ran - wanted) + (wanted - ran)}")
        return found


def run(away: Away, seconds: float, every: float) -> float:
    """Take the servers away and back; return the seconds until every task was over."""
    away.submit(_FIRST)
    with away.tasks.daemon() as daemon:
        away.until_over(daemon, 120)
        away.server.kill()
        away.target.stop()
        away.stay_away(daemon, seconds / 2, every)
        if daemon.stop() != 0:
            raise AssertionError(daemon.said()[-3000:])
    with away.tasks.daemon() as daemon:
        away.stay_away(daemon, seconds / 2, every)
        say(f"back: {_shown(away.states())}")
        away.server.start()
        away.target.start()
        took = away.until_over(daemon, 300)
        if daemon.stop() != 0:
            raise AssertionError(daemon.said()[-3000:])
    return took


def _shown(states: Counter[Any]) -> str:
    return ", ".join(f"{count:,} {state.value}" for state, count in states.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--away", type=float, default=3600, help="seconds")
    parser.add_argument("--every", type=float, default=1.0, help="seconds from task to task")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster.start(Path(folder) / "kafka") as cluster,
        running() as server,
        http_target() as target,
    ):
        place = Path(folder) / "tasks"
        place.mkdir()
        away = Away(place, Kafka(cluster.bootstrap), server, target)
        took = run(away, options.away, options.every)
        wrong = away.faults()
        say(
            f"{away.given:,} tasks, away for {options.away:.0f} s, all over {took:.0f} s after that"
        )
        say("; ".join(wrong) or "OK: each result once in the table, under one key at the server")
    return bool(wrong)


def say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
