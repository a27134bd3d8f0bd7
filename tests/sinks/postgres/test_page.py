"""docs/sinks/postgres.md: the settings are all there, and its pipeline runs on a real Kafka."""

from __future__ import annotations

import json

import pytest

from tests.kit.daemon import Daemon
from tests.kit.pages import blocks
from tests.kit.pipeline import orders
from tests.kit.postgres import PASSWORD, USER

PAGE = "docs/sinks/postgres.md"
(PIPELINE,) = blocks(PAGE, "yaml")
TABLE, QUERY = blocks(PAGE, "sql")


@pytest.fixture
def run(tmp_path, kafka, database):
    name, topic = kafka.name(), kafka.topic(4)
    text = PIPELINE.replace("orders-to-postgres", name).replace("[orders]", f"[{topic}]")
    letters = kafka.topic(1)
    (tmp_path / "pipeline.yaml").write_text(text.replace("orders.dead", letters))
    env = {
        "KAFKA": kafka.bootstrap,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(database.server.port),
        "PGDATABASE": database.name,
        "PGUSER": USER,
        "PGPASSWORD": PASSWORD,
    }

    def start(*arguments):
        return Daemon(tmp_path, str(tmp_path / "pipeline.yaml"), *arguments, env=env)

    start.topic, start.letters = topic, letters
    return start


def test_every_record_is_one_row_or_one_dead_letter(run, kafka, database):
    database.run(TABLE)
    kafka.produce(run.topic, orders(2000))  # an amount of 99.5 in each hundred breaks the check
    with run("--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    ids = database.run("SELECT id FROM orders ORDER BY id")
    assert ids == [n for n in range(2000) if n % 100 != 99]
    letters = kafka.read(run.letters)
    assert sorted(json.loads(one.value)["id"] for one in letters) == list(range(99, 2000, 100))
    assert b"23514" in b" ".join(value for _, value in letters[0].headers)
    assert sum(row[2] for row in database.run(QUERY)) == 2000
