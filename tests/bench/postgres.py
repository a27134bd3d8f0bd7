"""Orders into PostgreSQL: CPU and rate beside a hand-written loop, and a million with kills.

    python -m tests.bench.postgres [RECORDS]         ours beside the loop
    python -m tests.bench.postgres [RECORDS] --kill  worker, daemon and server are killed on the way

The loop is as careful: one transaction for 10,000 rows (COPY in binary) and their offsets.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.kills import Found, Run, Target, letter_ids, order, own_kafka, run_with_kills
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.postgres import Postgres, running

TABLE = """
CREATE TABLE orders (id bigint PRIMARY KEY, customer text, amount float8 CHECK (amount >= 0),
                     currency varchar(3), paid boolean)
"""
_KILLED = "killed"
_LOOP = """
import sys, orjson, psycopg
from confluent_kafka import Consumer
bootstrap, topic, group, dsn, count = sys.argv[1:6]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset":
    "earliest", "enable.auto.commit": False, "fetch.queue.backoff.ms": 5})
consumer.subscribe([topic])
session = psycopg.connect(dsn)
session.execute("CREATE TABLE IF NOT EXISTS loop_offsets (part int PRIMARY KEY, next bigint)")
session.commit()
done = 0
while done < int(count):
    messages = [m for m in consumer.consume(10_000, 0.1) if not m.error()]
    if not messages:
        continue
    with session.cursor() as cursor:
        with cursor.copy("COPY orders FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int8", "text", "float8", "varchar", "bool"])
            for m in messages:
                v = orjson.loads(m.value())
                copy.write_row((v["id"], v["customer"], v["amount"], v["currency"], v["paid"]))
        ends = {m.partition(): m.offset() + 1 for m in messages}
        cursor.executemany("INSERT INTO loop_offsets VALUES (%s, %s) ON CONFLICT (part) DO "
            "UPDATE SET next = excluded.next", list(ends.items()))
    session.commit()
    consumer.commit(asynchronous=True)
    done += len(messages)
consumer.close()
"""


def write_pipeline(folder: Path, kafka: Kafka, topic: str, server: Postgres, name: str) -> Path:
    file = folder / "pipeline.yaml"
    spec = {
        "name": name,
        "kafka": {"bootstrap.servers": kafka.bootstrap},
        "source": {"use": "kafka", "with": {"topics": [topic], "value": "json"}},
        "sink": sink_of(server, name),
        "dead_letter": {"table": "orders_dead"},
    }
    file.write_text(json.dumps(spec))
    return file


def sink_of(server: Postgres, database: str) -> dict[str, Any]:
    return {"use": "postgres", "with": {**server.address(database), "table": "orders"}}


def new_database(server: Postgres, name: str) -> None:
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name}")
    server.execute(name, TABLE)


def compare(kafka: Kafka, server: Postgres, topic: str, empty: str, count: int) -> None:
    """Print CPU and seconds of both; what a run without records takes is taken away."""
    for round_number in range(3):
        ours = []
        for which in (empty, topic):
            name = f"ours{round_number}{'e' if which == empty else 'f'}"
            new_database(server, name)
            with tempfile.TemporaryDirectory() as folder:
                file = write_pipeline(Path(folder), kafka, which, server, name)
                ours.append(timed(lambda file=file: run(file)))
        name = f"loop{round_number}"
        new_database(server, name)
        dsn = " ".join(f"{key}={value}" for key, value in server.address(name).items())
        loop = timed(
            lambda name=name, dsn=dsn: subprocess.run(
                [sys.executable, "-c", _LOOP, kafka.bootstrap, topic, name, dsn, str(count)],
                check=True,
            )
        )
        (cpu0, wall0), (cpu1, wall1) = ours
        cpu, wall = cpu1 - cpu0, wall1 - wall0
        print(  # noqa: T201
            f"ours {cpu / count * 1e6:.2f} us CPU a row, {count / wall:,.0f} rows/s; "
            f"loop {loop[0] / count * 1e6:.2f} us, {count / loop[1]:,.0f} rows/s; "
            f"CPU ratio {cpu / loop[0]:.2f}, rate ratio {loop[1] / wall:.2f}"
        )


def run(file: Path) -> None:
    with Daemon(file.parent, str(file), "--until-end") as daemon:
        assert daemon.wait(600) == 0, daemon.said()


def timed(call: Any) -> tuple[float, float]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - started


class OrdersTable(Target):
    """A table whose CHECK refuses bad orders; dead letters are in a table of the same database."""

    name = "postgres"
    has_server = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._running = running()
        self._server = self._running.__enter__()

    def start(self) -> None:
        self._server.start()

    def prepare(self) -> None:
        new_database(self._server, _KILLED)

    def kill(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._running.__exit__(None, None, None)

    def sink(self) -> dict[str, Any]:
        return sink_of(self._server, _KILLED)

    def dead_letter(self, run: Run) -> dict[str, Any]:
        return {"table": "orders_dead"}

    def found(self, run: Run) -> Found:
        rows = self._server.query(_KILLED, "SELECT id, amount FROM orders")
        letters = self._server.query(_KILLED, "SELECT letter::text FROM orders_dead")
        offsets = self._server.query(_KILLED, 'SELECT "partition", next FROM kafka_etl_offsets')
        return Found(rows, letter_ids(letters), dict(offsets))


def main() -> None:
    arguments = sys.argv[1:]
    numbers = [int(argument) for argument in arguments if argument.isdigit()]
    count = numbers[0] if numbers else 300_000
    with own_kafka() as kafka:
        if "--kill" in arguments:
            sys.exit(not run_with_kills(OrdersTable, kafka, records=count))
        topic, empty = kafka.topic(4), kafka.topic(4)
        kafka.produce(topic, (order(n, bad=False) for n in range(count)))
        with running() as server:
            compare(kafka, server, topic, empty, count)


if __name__ == "__main__":
    main()
