"""Pipelines from a real Kafka into a real PostgreSQL: each record once, whatever dies."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.pipeline import PICKY, Project, orders
from tests.kit.postgres import Postgres

TABLE = """
CREATE TABLE orders (
  id bigint PRIMARY KEY, amount float8 NOT NULL CHECK (amount < 99), currency varchar(3)
)
"""
SLOWLY = """
import time
def slowly(order: dict) -> dict:
    time.sleep(0.001)
    return order
"""


def project(folder: Path, kafka: Kafka, postgres: Postgres, dbname: str, **more: Any) -> Project:
    postgres.execute(dbname, TABLE)
    settings = {**postgres.address(dbname), "table": "orders", **more.pop("into", {})}
    made = Project(folder, kafka, **more)
    made.spec["sink"] = {"use": "postgres", "with": settings}
    made.write()
    return made


def good(count: int) -> list[int]:
    return [n for n in range(count) if n % 100 != 99]


def test_each_record_is_one_row_or_one_dead_letter(
    tmp_path: Path, kafka: Kafka, postgres: Postgres, dbname: str
) -> None:
    made = project(tmp_path, kafka, postgres, dbname)
    made.produce(orders(2000))  # an amount of 99.5 in each hundred breaks the check
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    assert postgres.query(dbname, "SELECT id FROM orders ORDER BY id") == good(2000)
    letters = made.dead_letters()
    assert sorted(json.loads(d.value)["id"] for d in letters) == list(range(99, 2000, 100))
    headers = dict(letters[0].headers)
    assert headers["kafka_etl.error.type"] == b"23514"
    assert b"orders_amount_check" in headers["kafka_etl.error.message"]
    assert made.lag() == 0, "the group's offsets are a copy of the store's"


def test_dead_letters_of_another_sink_go_to_a_table(
    tmp_path: Path, kafka: Kafka, postgres: Postgres, dbname: str
) -> None:
    made = Project(tmp_path, kafka, code=PICKY, operators=["ops:picky"])
    where = {**postgres.address(dbname), "table": "dead"}
    made.spec["dead_letter"] = {"use": "postgres", "with": where}
    made.write()
    made.produce(orders(100))
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    query = "SELECT count(*) FROM dead WHERE letter::text LIKE '%ValueError%'"
    assert postgres.query(dbname, query) == [10]
    assert len(made.outputs()) == 90


def test_dead_letters_in_a_table_are_exactly_once_too(
    tmp_path: Path, kafka: Kafka, postgres: Postgres, dbname: str
) -> None:
    letters = {"dead_letter": {"table": "orders_dlq"}}
    made = project(tmp_path, kafka, postgres, dbname, **letters)
    made.produce([*orders(500), ("k", "no JSON")])
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    found = postgres.query(dbname, "SELECT letter FROM orders_dlq")
    conditions = [letter["requestContext"]["condition"] for letter in found]
    assert sorted(conditions) == ["DecodeError", *["Refused"] * 5]


def test_whatever_dies_each_record_is_there_once(
    tmp_path: Path, kafka: Kafka, postgres: Postgres, dbname: str
) -> None:
    made = project(
        tmp_path, kafka, postgres, dbname, code=SLOWLY, operators=["ops:slowly"], workers=2
    )
    count = 6000
    made.produce(orders(count))
    chance = random.Random(7)
    with Daemon(tmp_path, str(made.file)) as daemon:
        for victim in ("worker", "server", "worker", "daemon", "server", "worker"):
            time.sleep(chance.uniform(0.3, 1.2))
            if victim == "worker" and daemon.workers():
                os.kill(chance.choice(daemon.workers()), signal.SIGKILL)
            elif victim == "server":
                postgres.kill()
                postgres.start()
            elif victim == "daemon":
                daemon.kill()
                daemon = Daemon(tmp_path, str(made.file))  # noqa: PLW2901 - the next one
        with daemon:
            deadline = time.monotonic() + 60
            while made.lag() and time.monotonic() < deadline:
                time.sleep(0.2)
            assert daemon.stop() == 0, daemon.said()
    assert postgres.query(dbname, "SELECT id FROM orders ORDER BY id") == good(count)
    assert postgres.query(dbname, "SELECT sum(next) FROM kafka_etl_offsets") == [count]


def test_a_server_that_is_away_is_waited_for(
    tmp_path: Path, kafka: Kafka, postgres: Postgres, dbname: str
) -> None:
    made = project(tmp_path, kafka, postgres, dbname)
    made.produce(orders(10))
    postgres.stop()
    with Daemon(tmp_path, str(made.file)) as daemon:
        daemon.until(lambda p: "PostgreSQL" in (p["trouble"] or ""))
        postgres.start()
        daemon.until(lambda p: p["counts"]["records_out"] == 10)
        postgres.stop()
        made.produce(orders(20)[10:])
        daemon.until(lambda p: "PostgreSQL" in (p["trouble"] or ""))
        postgres.start()
        daemon.until(lambda p: p["counts"]["records_out"] == 20 and p["trouble"] is None)
        assert daemon.pipeline()["counts"]["dead_letters"] == 0
