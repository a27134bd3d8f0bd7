"""The store `sqlite` passes its suite, and blames whoever is to blame."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.contracts import Move, RefusedRows, Unreachable
from kafka_etl.errors import SinkFailed
from kafka_etl.testing import StoreContract, rows
from kafka_etl_connectors.sqlite import SINK
from tests.kit.daemon import Daemon
from tests.kit.database_file import P0, TABLE, DatabaseFile, DatabaseFileSystem
from tests.kit.kafka import Kafka
from tests.kit.pages import ROOT, blocks
from tests.kit.pipeline import orders

PAGE = "docs/sinks/sqlite.md"


@pytest.fixture
def file(tmp_path: Path) -> DatabaseFile:
    made = DatabaseFile(SINK, sqlite3.connect, tmp_path / "t.db")
    made.execute(TABLE)
    return made


class TestSqliteStore(StoreContract):
    @pytest.fixture(params=["insert", "upsert"])
    def system(self, file: DatabaseFile, request: pytest.FixtureRequest) -> DatabaseFileSystem:
        return DatabaseFileSystem(file, upserts=request.param == "upsert")


def test_one_bad_row_of_ten_thousand_is_named(file: DatabaseFile) -> None:
    store = file.opened()
    values = [(n, 100 if n == 7777 else 1) for n in range(10_000)]
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows(*values), {P0: Move(0, 10_000)}, ())
    ((at, verdict),) = refused.value.rows.items()
    assert (at, verdict.code) == (7777, "SQLITE_CONSTRAINT_CHECK")
    store.close()


@pytest.mark.parametrize(
    ("value", "code"),
    [((None, 1), "NOTNULL"), ((1, 1), "UNIQUE"), ((2, 100), "CHECK")],
)
def test_what_a_constraint_refuses_is_the_rows(file: DatabaseFile, value: Any, code: str) -> None:
    store = file.opened()
    store.commit(rows((1, 1)), {P0: Move(0, 1)}, ())
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows(value, (5, 5)), {P0: Move(1, 3)}, ())
    assert refused.value.rows[0].code == f"SQLITE_CONSTRAINT_{code}"
    assert set(refused.value.rows) == {0}
    store.close()


def test_a_file_that_another_process_has_is_waited_for(file: DatabaseFile) -> None:
    store = file.opened(lock_timeout=0)
    with sqlite3.connect(file.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unreachable) as away:
            store.commit(rows((1, 1)), {P0: Move(0, 1)}, ())
        assert not away.value.mend
        other.execute("ROLLBACK")
    store.commit(rows((1, 1)), {P0: Move(0, 1)}, ())
    store.close()


def test_the_check_waits_for_a_file_that_another_process_has(file: DatabaseFile) -> None:
    with sqlite3.connect(file.path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unreachable, match="locked"):
            file.store(lock_timeout=0)


@pytest.mark.parametrize("clause", ["IGNORE", "ROLLBACK", "REPLACE", "FAIL"])
def test_no_clause_of_the_table_drops_a_row_without_a_word(file: DatabaseFile, clause: str) -> None:
    file.execute("DROP TABLE t")
    file.execute(f"CREATE TABLE t (id INTEGER UNIQUE ON CONFLICT {clause}, n INTEGER)")
    store = file.opened()
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows((1, 1), (1, 2), (3, 3)), {P0: Move(0, 3)}, ())
    store.close()
    assert set(refused.value.rows) == {1}


_DEFERRED = """
    DROP TABLE t;
    CREATE TABLE t (id INTEGER, p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE p (id INTEGER PRIMARY KEY);
    INSERT INTO p VALUES (1);
"""
_TRIGGER = """
    CREATE TRIGGER r BEFORE INSERT ON t WHEN NEW.version > 1
    BEGIN SELECT RAISE(ROLLBACK, 'no'); END;
"""


@pytest.mark.parametrize("script", [_DEFERRED, _TRIGGER])
def test_what_ends_the_transaction_is_no_outage(file: DatabaseFile, script: str) -> None:
    """The engine finds the row by halves, for which the error must not be `Unreachable`."""
    with sqlite3.connect(file.path) as connection:
        connection.executescript(script)
    store = file.opened()
    with pytest.raises(sqlite3.IntegrityError):
        store.commit(rows((1, 1), (2, 2)), {P0: Move(0, 2)}, ())
    store.commit(rows((1, 1)), {P0: Move(0, 1)}, ())
    store.close()
    assert file.execute("SELECT id FROM t") == [(1,)]


def test_a_full_disk_is_to_be_mended(file: DatabaseFile) -> None:
    store = file.opened()
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(Unreachable, match="full") as away:
        store.commit(rows(*[(n, 1) for n in range(5000)]), {P0: Move(0, 5000)}, ())
    assert away.value.mend
    store.close()


def test_newer_rows_are_kept(file: DatabaseFile) -> None:
    store = file.opened(mode="upsert", key=["id"], newer="version")
    for at, version in enumerate((5, 3, 7)):
        store.commit(rows((1, version), keys=[(1,)]), {P0: Move(at, at + 1)}, ())
        assert file.execute("SELECT version FROM t") == [(max(5, version),)]
    store.close()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"table": "tt"}, "no table tt"),
        ({"path": "nix.db"}, "no file"),
        ({"path": "nix/t.db"}, "no folder"),
        ({"path": "text.db"}, "not a database"),
        ({"columns": {"idd": "1"}}, "no column idd"),
        ({"mode": "upsert", "key": ["version"]}, "no unique index"),
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
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        found = [row[0] for row in connection.execute("SELECT id FROM orders ORDER BY id")]
        letters = connection.execute("SELECT count(*) FROM orders_dead").fetchone()
    assert (found, letters) == (list(range(100)), (1,))
