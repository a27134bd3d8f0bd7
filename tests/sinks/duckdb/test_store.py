"""The store `duckdb` passes its suite, and blames whoever is to blame."""

from __future__ import annotations

import os
import signal
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest

from kafka_etl.contracts import Move, RefusedRows
from kafka_etl.testing import StoreContract, rows
from kafka_etl_connectors.duckdb import SINK
from tests.kit.daemon import Daemon
from tests.kit.database_file import P0, TABLE, DatabaseFile, DatabaseFileSystem
from tests.kit.kafka import Kafka
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
    ("declared", "query"),
    [
        ("TIMESTAMPTZ", "SELECT epoch_us(value) FROM t"),
        ("TIMESTAMPTZ[]", "SELECT epoch_us(value[1]) FROM t"),
    ],
)
def test_instants_of_any_offset_arrive(file: DatabaseFile, declared: str, query: str) -> None:
    texts = ["1890-01-01T00:53:28+00:53:28", "2026-07-01T12:00:00+02:00", "2026-07-01T12:00:00Z"]
    instants: list[Any] = [datetime.fromisoformat(text) for text in texts]
    file.execute(f"CREATE OR REPLACE TABLE t (value {declared})")
    store = file.opened()
    given = [([one],) if declared.endswith("]") else (one,) for one in instants]
    store.commit(rows(*given), {P0: Move(0, 3)}, ())
    store.close()
    found = file.execute(query)
    assert [at / 1e6 for (at,) in found] == [one.timestamp() for one in instants]


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
