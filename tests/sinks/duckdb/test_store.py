"""The store `duckdb` passes its suite, and blames whoever is to blame."""

from __future__ import annotations

import os
import re
import signal
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest

from kafka_etl.contracts import Move, RefusedRows
from kafka_etl.errors import SinkFailed
from kafka_etl.testing import StoreContract, rows
from kafka_etl_connectors.duckdb import SINK
from tests.kit.daemon import Daemon
from tests.kit.database_file import P0, TABLE, DatabaseFile, DatabaseFileSystem
from tests.kit.kafka import Kafka
from tests.kit.pages import ROOT, blocks
from tests.kit.pipeline import Project, orders

PAGE = "docs/sinks/duckdb.md"


@pytest.fixture
def file(tmp_path: Path) -> DatabaseFile:
    made = DatabaseFile(SINK, duckdb.connect, tmp_path / "t.duckdb")
    made.execute(TABLE)
    return made


class TestDuckdbStore(StoreContract):
    @pytest.fixture(params=["insert", "upsert"])
    def system(self, file: DatabaseFile, request: pytest.FixtureRequest) -> DatabaseFileSystem:
        return DatabaseFileSystem(file, upserts=request.param == "upsert")


def test_one_bad_row_of_ten_thousand_is_named(file: DatabaseFile) -> None:
    store = file.opened()
    values = [(n, 100 if n == 7777 else 1) for n in range(10_000)]
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows(*values), {P0: Move(0, 10_000)}, ())
    ((at, verdict),) = refused.value.rows.items()
    assert (at, verdict.code) == (7777, "ConstraintException")
    store.close()


@pytest.mark.parametrize("value", [(None, 1), (1, 1), (2, 100)])
def test_what_a_constraint_refuses_is_the_rows(file: DatabaseFile, value: Any) -> None:
    store = file.opened()
    store.commit(rows((1, 1)), {P0: Move(0, 1)}, ())
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows(value, (5, 5)), {P0: Move(1, 3)}, ())
    assert set(refused.value.rows) == {0}
    assert "onstraint" in refused.value.rows[0].message
    store.close()


def test_of_two_rows_with_one_key_the_second_is_refused(file: DatabaseFile) -> None:
    store = file.opened()
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows((1, 1), (2, 2), (1, 3)), {P0: Move(0, 3)}, ())
    assert set(refused.value.rows) == {2}
    store.close()


def test_newer_rows_are_kept(file: DatabaseFile) -> None:
    store = file.opened(mode="upsert", key=["id"], newer="version")
    for at, version in enumerate((5, 3, 7)):
        store.commit(rows((1, version), keys=[(1,)]), {P0: Move(at, at + 1)}, ())
        assert file.execute("SELECT version FROM t") == [(max(5, version),)]
    store.close()


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("HUGEINT", 2**126),
        ("HUGEINT[]", [2**100, -1]),
        ("BIGINT", -(2**63)),
        ("UBIGINT", 2**64 - 1),
        ("UTINYINT", 255),
        ("TIMESTAMP_S", datetime.fromisoformat("9999-12-31T23:59:59")),
        ("INTEGER[3]", [1, 2, 3]),
        ("DECIMAL(38, 10)", Decimal("9999999999999999999999999999.0000000001")),
        ("UUID", UUID(int=7)),
        ("UUID[]", [UUID(int=7), UUID(int=8)]),
        ("TIME", time(23, 59, 59, 999999)),
        ("DATE", date(9999, 12, 31)),
        ("BLOB", b"\0\xff"),
        ("VARCHAR", "a\0b"),
    ],
)
def test_values_at_the_edge_arrive(file: DatabaseFile, declared: str, value: Any) -> None:
    file.execute(f"CREATE OR REPLACE TABLE t (value {declared})")
    store = file.opened()
    store.commit(rows((value,), (None,)), {P0: Move(0, 2)}, ())
    store.close()
    found, nothing = file.execute("SELECT value FROM t")
    assert (found, nothing) == ((tuple(value) if declared == "INTEGER[3]" else value,), (None,))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"table": "tt"}, "no table tt"),
        ({"path": "nix.duckdb"}, "no file"),
        ({"path": "nix/t.duckdb"}, "no folder"),
        ({"path": "text.db"}, "cannot be used"),
        ({"columns": {"idd": "1"}}, "no column idd"),
        ({"mode": "upsert", "key": ["version"]}, "no PRIMARY KEY"),
        ({"table": "tt", "create": True}, "without `types`"),
    ],
)
def test_preflight_says_what_does_not_fit(file: DatabaseFile, settings: Any, why: str) -> None:
    (file.path.parent / "text.db").write_text("not a database" * 100)
    with pytest.raises(SinkFailed, match=why):
        file.store(**settings)


def test_the_page_names_every_setting() -> None:
    table = (ROOT / PAGE).read_text().split("## Settings")[1].split("##")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(SINK.settings.model_fields)


def test_the_pages_pipeline_runs(tmp_path: Path, kafka: Kafka) -> None:
    topic = kafka.topic(2)
    (text,) = blocks(PAGE, "yaml")
    text = text.replace("[orders]", f"[{topic}]").replace("orders-in-a-file", kafka.name())
    (tmp_path / "pipeline.yaml").write_text(text)
    kafka.produce(topic, [*orders(100), ("k", '{"id": "x"}'), *orders(10)])
    env = {"KAFKA": kafka.bootstrap}
    with Daemon(tmp_path, "pipeline.yaml", "--until-end", env=env) as daemon:
        assert daemon.wait() == 0, daemon.said()
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        found = [
            row[0] for row in connection.execute("SELECT id FROM orders ORDER BY id").fetchall()
        ]
        letters = connection.execute("SELECT count(*) FROM orders_dead").fetchone()
    assert (found, letters) == (list(range(100)), (1,))


def test_workers_that_are_killed_double_nothing(tmp_path: Path, kafka: Kafka) -> None:
    code = """
        import time
        def slowly(order: dict) -> dict:
            time.sleep(0.002)
            return order
    """
    with duckdb.connect(tmp_path / "t.duckdb") as connection:
        connection.execute("CREATE TABLE t (id BIGINT, amount DOUBLE, currency VARCHAR)")
    made = Project(tmp_path, kafka, code=code, operators=["ops:slowly"])
    made.spec["sink"] = {"use": "duckdb", "with": {"path": "t.duckdb", "table": "t"}}
    made.write()
    made.produce(orders(3000))
    with Daemon(tmp_path, str(made.file)) as daemon:
        for least in (200, 900, 1800):
            daemon.until(
                lambda p, n=least: p["counts"]["records_out"] >= n and daemon.workers() != []
            )
            os.kill(daemon.workers()[0], signal.SIGKILL)
        daemon.until(lambda _: made.lag() == 0)
        assert daemon.stop() == 0, daemon.said()
    with duckdb.connect(tmp_path / "t.duckdb") as connection:
        found = connection.execute("SELECT id FROM t ORDER BY id").fetchall()
    assert found == [(number,) for number in range(3000)]
