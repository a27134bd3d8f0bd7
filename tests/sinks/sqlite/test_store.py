"""The store `sqlite` passes its suite, and blames whoever is to blame."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kafka_etl.contracts import Move, RefusedRows, Unreachable
from kafka_etl.engine.shape.fit import fit
from kafka_etl.testing import StoreContract, rows
from kafka_etl_connectors.sqlite import SINK
from kafka_etl_connectors.sqlite.schema import columns_of
from tests.kit.database_file import P0, TABLE, DatabaseFile, DatabaseFileSystem

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


_NUMBER_LIKE = [
    *("7", "007", "+5", "-0", "1.10", "1.1", "5.", "5.0", ".5", " 12 ", "1e3", "1e400", "1e-400"),
    *("9007199254740993", "9007199254740993.0", "99999999999999999999", "9223372036854775808"),
    *("1234567890123456789.25", "12.50", "-3", "0.1234567890123456", "1e16", "2024-01-01", "0x10"),
    *("1_000", "inf", "n/a", "", "1" * 5000, "1e99999999999999999999", "\u0667"),
]


@pytest.mark.parametrize("declared", ["STRING", "DECIMAL(30, 2)", "JSON", "TEXT", "BLOB"])
def test_text_that_looks_like_a_number_is_kept_or_refused(
    file: DatabaseFile, declared: str
) -> None:
    file.execute("DROP TABLE t")
    file.execute(f"CREATE TABLE t (id INTEGER, code {declared})")
    store = file.opened()
    given, at, refused = list(enumerate(_NUMBER_LIKE)), 0, set[int]()
    for row in given:
        try:
            store.commit(rows(row), {P0: Move(at, at + 1)}, ())
            at += 1
        except RefusedRows:
            refused.add(row[0])
    store.close()
    kept = file.execute("SELECT id, code FROM t ORDER BY id")
    assert [number for number, _ in kept] == [n for n, _ in given if n not in refused]
    for number, found in kept:
        text = _NUMBER_LIKE[number]
        is_same = text == str(found) or (
            declared in {"DECIMAL(30, 2)", "JSON"} and Decimal(text) == Decimal(str(found))
        )
        assert is_same, (text, found)
    texts = {_NUMBER_LIKE[number] for number in refused}
    assert ("007" in texts) is (declared == "STRING")
    assert ("1234567890123456789.25" in texts) is (declared not in {"TEXT", "BLOB"})
    assert texts.isdisjoint({"7", "-3", "2024-01-01", "n/a", "", "9007199254740993", "1.1"})


def test_a_deletion_by_a_key_that_looks_like_a_number_finds_its_row_alone(
    file: DatabaseFile,
) -> None:
    file.execute("DROP TABLE t")
    file.execute("CREATE TABLE t (code STRING UNIQUE, n INTEGER)")
    store = file.opened(mode="upsert", key={"code": "key"})
    given = rows(("7", 1), ("007", 2), None, keys=[("7",), ("007",), ("007",)])
    with pytest.raises(RefusedRows) as refused:
        store.commit(given, {P0: Move(0, 3)}, ())
    assert set(refused.value.rows) == {1, 2}
    store.close()


def test_times_decimals_and_uuids_are_text(file: DatabaseFile) -> None:
    file.execute("DROP TABLE t")
    file.execute("CREATE TABLE t (at DATETIME, paid DECIMAL(9, 2), id UUID)")
    columns = columns_of(sqlite3.connect(file.path), "t")
    given = [datetime(2026, 11, 30, tzinfo=UTC), Decimal("12.50"), UUID(int=7)]
    fitted = [fit(column, [value]) for column, value in zip(columns, given, strict=True)]
    assert not any(bad for _, bad in fitted)
    store = file.opened()
    store.commit(rows(tuple(values[0] for values, _ in fitted)), {P0: Move(0, 1)}, ())
    store.close()
    assert file.execute("SELECT at, paid, id FROM t") == [
        ("2026-11-30T00:00:00+00:00", 12.5, "00000000-0000-0000-0000-000000000007")
    ]
