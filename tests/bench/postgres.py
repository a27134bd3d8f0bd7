"""Orders into PostgreSQL: CPU and rate beside a hand-written loop, and a million with kills.

    python -m tests.bench.postgres [RECORDS]         ours beside the loop
    python -m tests.bench.postgres [RECORDS] --kill  worker, daemon and server are killed on the way

The loop is as careful: one transaction for 10,000 rows (COPY in binary) and their offsets.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kafka_etl.broker import Cluster
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.postgres import Postgres, running

TABLE = """
CREATE TABLE orders (id bigint PRIMARY KEY, customer text, amount float8 CHECK (amount >= 0),
                     currency varchar(3), paid boolean)
"""
BAD = 10_000
"""One record of so many breaks the CHECK."""
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


def order(number: int, *, bad: bool) -> tuple[str, str]:
    value = {
        "id": number,
        "customer": f"customer {number % 1000}",
        "amount": -1.0 if bad and number % BAD == BAD - 1 else number % 500 + 0.5,
        "currency": ("EUR", "USD", "GBP")[number % 3],
        "paid": number % 2 == 0,
    }
    return f"k{number % 5000}", json.dumps(value)


def write_pipeline(folder: Path, kafka: Kafka, topic: str, server: Postgres, name: str) -> Path:
    file = folder / "pipeline.yaml"
    spec = {
        "name": name,
        "kafka": {"bootstrap.servers": kafka.bootstrap},
        "source": {"use": "kafka", "with": {"topics": [topic], "value": "json"}},
        "sink": {"use": "postgres", "with": {**server.address(name), "table": "orders"}},
        "dead_letter": {"table": "orders_dead"},
    }
    file.write_text(json.dumps(spec))
    return file


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


def kill(kafka: Kafka, server: Postgres, topic: str, count: int) -> None:
    """Run with kills of worker, daemon and server at random, and compare all sums."""
    name, chance, killed = "killed", random.Random(11), {"worker": 0, "server": 0, "daemon": 0}
    new_database(server, name)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        file = write_pipeline(folder, kafka, topic, server, name)
        daemon = Daemon(folder, str(file))
        while True:
            time.sleep(chance.uniform(0.3, 1.5))
            victim = chance.choice(["worker", "worker", "server", "daemon"])
            if sum(killed.values()) >= 20:
                stands = server.query(name, "SELECT coalesce(sum(next), 0) FROM kafka_etl_offsets")
                if stands == [count]:
                    break
                continue
            killed[victim] += 1
            if victim == "worker" and daemon.workers():
                os.kill(daemon.workers()[0], signal.SIGKILL)
            elif victim == "server":
                server.kill()
                server.start()
            elif victim == "daemon":
                daemon.kill()
                daemon = Daemon(folder, str(file))
        daemon.stop()
    bad = count // BAD
    total = sum((n % 500 + 0.5) for n in range(count) if n % BAD != BAD - 1)
    query = "SELECT count(*), count(DISTINCT id), sum(amount) FROM orders"
    letters = server.query(name, "SELECT count(*) FROM orders_dead")
    print(f"killed {killed}")  # noqa: T201
    print(f"found {server.query(name, query)}, letters {letters}")  # noqa: T201
    print(f"wanted {[(count - bad, count - bad, total)]}, letters {[bad]}")  # noqa: T201
    assert server.query(name, query) == [(count - bad, count - bad, total)]
    assert letters == [bad]


def main() -> None:
    arguments = sys.argv[1:]
    kills = "--kill" in arguments
    numbers = [int(argument) for argument in arguments if argument.isdigit()]
    count = numbers[0] if numbers else 300_000
    with tempfile.TemporaryDirectory() as folder, Cluster.start(Path(folder)) as cluster:
        kafka = Kafka(cluster.bootstrap)
        topic, empty = kafka.topic(4), kafka.topic(4)
        for begin in range(0, count, 50_000):
            end = min(count, begin + 50_000)
            kafka.produce(topic, [order(n, bad=kills) for n in range(begin, end)])
        with running() as server:
            if kills:
                kill(kafka, server, topic, count)
            else:
                compare(kafka, server, topic, empty, count)


if __name__ == "__main__":
    main()
