"""The README's pipeline into PostgreSQL, and its query."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.pages import blocks
from tests.kit.pipeline import orders
from tests.kit.postgres import Postgres

PIPELINE = next(block for block in blocks("README.md", "yaml") if "use: postgres" in block)
(QUERY,) = blocks("README.md", "sql")


def test_its_orders_are_in_the_table(
    tmp_path: Path,
    kafka: Kafka,
    postgres: Postgres,
    dbname: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
    for key, value in postgres.address(dbname).items():
        monkeypatch.setenv(names.get(key, "PGPASSWORD"), str(value))
    monkeypatch.setenv("KAFKA", kafka.bootstrap)
    topic = kafka.topic(2)
    text = PIPELINE.replace("[orders]", f"[{topic}]").replace("name: w", f"name: {kafka.name()}-w")
    (tmp_path / "pipeline.yaml").write_text(text)
    assert "exactly_once" in command("validate", "pipeline.yaml", cwd=tmp_path).stdout
    kafka.produce(topic, [(k, v.replace('"id"', '"customer": "c", "id"')) for k, v in orders(100)])
    with Daemon(tmp_path, "pipeline.yaml", "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    assert postgres.query(dbname, QUERY) == [("USD", 100, Decimal("5000.00"))]
