"""Pipelines from a real Kafka into a SQLite file: each record once, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.pipeline import PICKY, Project, orders

TABLE = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, amount REAL CHECK (amount < 99), currency TEXT)"
)


def project(folder: Path, kafka: Kafka, **more: Any) -> Project:
    path = folder / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute(TABLE)
    made = Project(folder, kafka, **more)
    made.spec["sink"] = {"use": "sqlite", "with": {"path": "shop.db", "table": "orders"}}
    made.write()
    return made


def rows(folder: Path, query: str = "SELECT id FROM orders ORDER BY id") -> list[Any]:
    with sqlite3.connect(folder / "shop.db") as connection:
        return [row[0] if len(row) == 1 else row for row in connection.execute(query)]


def test_each_record_is_one_row_or_one_dead_letter(tmp_path: Path, kafka: Kafka) -> None:
    made = project(tmp_path, kafka)
    made.produce(orders(2000))  # an amount of 99.5 in each hundred breaks the check
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    assert rows(tmp_path) == [n for n in range(2000) if n % 100 != 99]
    letters = made.dead_letters()
    assert sorted(json.loads(d.value)["id"] for d in letters) == list(range(99, 2000, 100))
    headers = dict(letters[0].headers)
    assert headers["kafka_etl.condition"] == b"Refused"
    assert b"CHECK constraint failed" in headers["kafka_etl.error.message"]
    assert made.lag() == 0, "the group's offsets are a copy of the store's"


def test_an_expression_and_an_operator_say_into_which_table_a_row_goes(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = """
        from kafka_etl import Record
        def by_hand(record: Record) -> Record:
            return record.to("nowhere" if record.value["id"] == 7 else "late") \\
                if record.value["id"] in (7, 8) else record
    """
    made = project(tmp_path, kafka, code=code, operators=["ops:by_hand"])
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute(TABLE.replace("orders", "even"))
        connection.execute(TABLE.replace("orders", "late"))
    made.spec["sink"]["with"] |= {
        "routes": ["even", "late"],
        "set": {"to": "'even' if value.id % 2 == 0 else None"},
    }
    made.write()
    made.produce(orders(50))
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    assert rows(tmp_path) == [n for n in range(1, 50, 2) if n != 7]
    assert rows(tmp_path, "SELECT id FROM even ORDER BY id") == [
        n for n in range(0, 50, 2) if n != 8
    ]
    assert rows(tmp_path, "SELECT id FROM late") == [8]
    (letter,) = made.dead_letters()
    assert b"a row cannot go to 'nowhere'" in dict(letter.headers)["kafka_etl.error.message"]


@pytest.mark.parametrize("use", ["sqlite", "duckdb"])
def test_dead_letters_of_any_pipeline_go_to_a_table(tmp_path: Path, kafka: Kafka, use: str) -> None:
    made = Project(tmp_path, kafka, code=PICKY, operators=["ops:picky"])
    where = {"path": "letters.db", "table": "dead", "create": True}
    made.spec["dead_letter"] = {"use": use, "with": where}
    made.write()
    made.produce(orders(100))
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    connect = {"sqlite": sqlite3.connect, "duckdb": duckdb.connect}[use]
    with connect(tmp_path / "letters.db") as connection:
        found = connection.execute("SELECT letter FROM dead").fetchall()
    offsets = [json.loads(json.loads(letter)["requestPayload"])[0]["offset"] for (letter,) in found]
    assert len(offsets) == 10
    assert all(type(offset) is int for offset in offsets)
    assert len(made.outputs()) == 90


def test_workers_that_are_killed_double_nothing(tmp_path: Path, kafka: Kafka) -> None:
    code = """
        import time
        def slowly(order: dict) -> dict:
            time.sleep(0.001)
            return order
    """
    made = project(tmp_path, kafka, code=code, operators=["ops:slowly"], workers=2)
    made.produce(orders(3000))
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        for count in (200, 900, 1800):
            while len(rows(tmp_path)) < count and daemon.process.poll() is None:
                time.sleep(0.05)
            os.kill(daemon.workers()[0], signal.SIGKILL)
        assert daemon.wait() == 0, daemon.said()
    assert rows(tmp_path) == [n for n in range(3000) if n % 100 != 99]


def test_offsets_are_shown_and_reset_where_they_are_kept(tmp_path: Path, kafka: Kafka) -> None:
    made = project(tmp_path, kafka, partitions=1, source={"membership": "dynamic"})
    made.spec["sink"]["with"] |= {"mode": "upsert", "key": ["id"]}
    made.write()
    made.produce(orders(50))
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    shown = command("offsets", "show", str(made.file), cwd=tmp_path)
    assert f"store=sqlite/{made.name}, generation 0" in shown.stdout, shown.stderr
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("DELETE FROM orders")
    done = command("offsets", "reset", str(made.file), "--to", "40", "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    standing = "SELECT next, generation FROM kafka_etl_offsets"
    assert rows(tmp_path, standing) == [(40, 1)]
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    assert (rows(tmp_path), rows(tmp_path, standing)) == (list(range(40, 50)), [(50, 1)])


def test_a_store_that_lost_its_offsets_begins_nothing_anew(tmp_path: Path, kafka: Kafka) -> None:
    made = project(tmp_path, kafka, partitions=1)
    made.produce(orders(5))
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("DROP TABLE kafka_etl_offsets")
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 1
    assert "E408" in daemon.said()
    assert "the store has lost its offsets" in daemon.said()


def test_offsets_of_the_store_go_past_the_markers_of_transactions(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = project(tmp_path, kafka, partitions=1)
    with Daemon(tmp_path, str(made.file)) as daemon:
        for n in range(8):
            made.kafka.produce_transactions(made.source, [(orders(8)[n : n + 1], True)])
            daemon.until(lambda _, n=n: len(rows(tmp_path)) == n + 1)
            daemon.until(lambda _: made.lag() == 0)
        assert daemon.stop() == 0, daemon.said()
    assert "moved in the store" not in daemon.said()
