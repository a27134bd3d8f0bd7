"""What SQLite and DuckDB do alike: which of several rows stands, and whom a refusal names."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from kafka_etl.contracts import Move, RefusedRows, SinkPlugin
from kafka_etl.errors import SinkFailed
from kafka_etl.testing import rows
from kafka_etl_connectors.duckdb import SINK as DUCKDB
from kafka_etl_connectors.sqlite import SINK as SQLITE
from tests.kit.daemon import Daemon
from tests.kit.database_file import P0, TABLE, DatabaseFile
from tests.kit.kafka import Kafka
from tests.kit.pages import blocks
from tests.kit.pipeline import orders


@dataclass(frozen=True)
class Database:
    """A database in a file.

    Attributes:
        plugin: Its sink.
        connect: Opens a file.
        suffix: Ending of the file that the page names.
        check: Code of a broken CHECK.
        no_key: What preflight says about a missing key.
    """

    plugin: SinkPlugin[Any]
    connect: Callable[[Path], Any]
    suffix: str
    check: str
    no_key: str


DATABASES = {
    "sqlite": Database(SQLITE, sqlite3.connect, "db", "SQLITE_CONSTRAINT_CHECK", "no unique index"),
    "duckdb": Database(DUCKDB, duckdb.connect, "duckdb", "ConstraintException", "no PRIMARY KEY"),
}

MakeFile = Callable[..., DatabaseFile]


@pytest.fixture(params=DATABASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(name: str, tmp_path: Path) -> MakeFile:
    """Makes a file with tables."""
    database = DATABASES[name]

    def make(*statements: str) -> DatabaseFile:
        file = DatabaseFile(database.plugin, database.connect, tmp_path / "t.db")
        for statement in statements:
            file.execute(statement)
        return file

    return make


def stands(file: DatabaseFile, *batches: Any, **settings: Any) -> list[Any]:
    """What the table has after batches of (key, row or None)."""
    store = file.opened(**settings)
    at = 0
    for batch in batches:
        given = rows(*[row for _, row in batch], keys=[(key,) for key, _ in batch])
        store.commit(given, {P0: Move(at, at + len(batch))}, ())
        at += len(batch)
    store.close()
    return file.execute("SELECT * FROM t ORDER BY 1")


VERSIONED = "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, version INTEGER, name TEXT)"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        pytest.param([5, 7, 3], (7, "1"), id="the newest"),
        pytest.param([5, 5], (5, "1"), id="of equal ones the last"),
        pytest.param([None, 1], (1, "1"), id="anything before nothing"),
        pytest.param([1, None], (1, "0"), id="nothing before nothing else"),
        pytest.param([5, "gone", 3], (3, "2"), id="a deletion ends what was"),
    ],
)
@pytest.mark.parametrize("mode", ["upsert", "replace"])
@pytest.mark.parametrize("at_once", [True, False])
def test_of_several_rows_the_newest_stands_in_one_batch_and_in_many(
    made: MakeFile, mode: str, at_once: bool, given: list[Any], wanted: tuple[Any, ...]
) -> None:
    file = made(VERSIONED)
    all_rows = [(1, None if v == "gone" else (1, v, str(n))) for n, v in enumerate(given)]
    batches = [all_rows] if at_once else [[one] for one in all_rows]
    found = stands(file, *batches, mode=mode, key={"id": "key"}, newer="version")
    assert found == [(1, *wanted)]


@pytest.mark.parametrize(("mode", "wanted"), [("upsert", "there"), ("replace", "usual")])
def test_replace_sets_what_the_row_does_not(made: MakeFile, mode: str, wanted: str) -> None:
    file = made(
        "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, n INTEGER, name TEXT DEFAULT 'usual')",
        "INSERT INTO t VALUES (1, 1, 'there')",
    )
    columns = {"id": "value.id", "n": "value.n"}
    assert stands(file, [(1, (1, 2))], mode=mode, key=["id"], columns=columns) == [(1, 2, wanted)]


def test_replace_touches_no_other_row(made: MakeFile) -> None:
    file = made(
        "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, name TEXT UNIQUE)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    )
    store = file.opened(mode="replace", key=["id"])
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows((3, "c"), (1, "b"), keys=[(3,), (1,)]), {P0: Move(0, 2)}, ())
    store.close()
    assert set(refused.value.rows) == {1}
    assert file.execute("SELECT * FROM t ORDER BY id") == [(1, "a"), (2, "b")]


def test_a_deletion_that_a_foreign_key_forbids_is_named(made: MakeFile) -> None:
    file = made(
        "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, n INTEGER)",
        "CREATE TABLE child (parent INTEGER REFERENCES t (id))",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
        "INSERT INTO child VALUES (1)",
    )
    store = file.opened(mode="upsert", key={"id": "key"})
    given = rows(None, None, (3, 3), keys=[(1,), (2,), (3,)])
    with pytest.raises(RefusedRows) as refused:
        store.commit(given, {P0: Move(0, 3)}, ())
    assert set(refused.value.rows) == {0}
    store.commit(given.take([1, 2]), {P0: Move(0, 3)}, ())
    store.close()
    assert file.execute("SELECT id FROM t ORDER BY id") == [(1,), (3,)]


def test_a_row_that_needs_a_deletion_before_is_not_blamed_for_others(made: MakeFile) -> None:
    file = made(
        "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, name TEXT UNIQUE CHECK (length(name) < 9))",
        "INSERT INTO t VALUES (1, 'a')",
    )
    store = file.opened(mode="upsert", key={"id": "key"})
    given = rows(None, (2, "a"), (3, "much too long"), keys=[(1,), (2,), (3,)])
    with pytest.raises(RefusedRows) as refused:
        store.commit(given, {P0: Move(0, 3)}, ())
    store.close()
    assert set(refused.value.rows) == {2}


def test_one_bad_row_of_ten_thousand_is_named(made: MakeFile, name: str) -> None:
    store = made(TABLE).opened()
    values = [(n, 100 if n == 7777 else 1) for n in range(10_000)]
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows(*values), {P0: Move(0, 10_000)}, ())
    store.close()
    assert {at: v.code for at, v in refused.value.rows.items()} == {7777: DATABASES[name].check}


def test_each_of_many_bad_rows_is_named(made: MakeFile) -> None:
    """Bad from the first on, one after the other, twins and triplets, and more than a thousand."""
    file = made("CREATE TABLE t (id INTEGER NOT NULL UNIQUE, n INTEGER CHECK (n < 100))")
    values = [(n // 2 if n % 10 == 1 else n, 100 if n < 70 else 1) for n in range(4_000)]
    twins = {at for at, (n, _) in enumerate(values) if at >= 70 and n != at and n >= 70}
    store = file.opened()
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows(*values), {P0: Move(0, 4_000)}, ())
    good = [at for at in range(4_000) if at not in refused.value.rows]
    store.commit(rows(*[values[at] for at in good]), {P0: Move(0, 4_000)}, ())
    store.close()
    assert set(range(70)) <= set(refused.value.rows)
    assert set(refused.value.rows) - set(range(70)) == twins


def test_a_unique_index_counts_as_well(made: MakeFile) -> None:
    file = made("CREATE TABLE t (id INTEGER, n INTEGER)", "CREATE UNIQUE INDEX u ON t (n)")
    store = file.opened()
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows((1, 1), (2, 2), (3, 1), (4, 2), (5, 5)), {P0: Move(0, 5)}, ())
    store.close()
    assert set(refused.value.rows) == {2, 3}


def routed(made: MakeFile, **settings: Any) -> tuple[DatabaseFile, Any]:
    file = made(
        "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, n INTEGER CHECK (n < 100))",
        'CREATE TABLE "o\'u" (n INTEGER CHECK (n < 100), id INTEGER NOT NULL UNIQUE)',
    )
    return file, file.opened(routes=["o'u"], **settings)


def test_rows_go_to_the_tables_they_are_sent_to(made: MakeFile) -> None:
    file, store = routed(made, mode="upsert", key={"id": "key"})
    given = [((1, 1), None), ((1, 2), "o'u"), ((2, 3), "t"), ((3, 4), "o'u"), (None, "o'u")]
    keys = [(1,), (1,), (2,), (3,), (3,)]
    batch = rows(*[v for v, _ in given], keys=keys, destinations=[to for _, to in given])
    store.commit(batch, {P0: Move(0, 5)}, ())
    store.close()
    assert file.execute("SELECT id, n FROM t ORDER BY id") == [(1, 1), (2, 3)]
    assert file.execute('SELECT id, n FROM "o\'u" ORDER BY id') == [(1, 2)]


def test_a_bad_row_of_any_table_is_named_and_none_is_written(made: MakeFile) -> None:
    file, store = routed(made)
    values = [(1, 1), (1, 1), (2, 100), (3, 3), (3, 3)]
    sent = [None, "o'u", "o'u", None, None]
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows(*values, destinations=sent), {P0: Move(0, 5)}, ())
    store.close()
    assert set(refused.value.rows) == {2, 4}
    assert file.execute("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ("id INTEGER NOT NULL UNIQUE, n TEXT", "not like t: n differ"),
        ("id INTEGER", "id, n differ"),
    ],
)
def test_the_tables_of_routes_are_alike(made: MakeFile, other: str, why: str) -> None:
    file = made(
        "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, n INTEGER)", f"CREATE TABLE u ({other})"
    )
    with pytest.raises(SinkFailed, match=why):
        file.store(routes=["u"])


def test_every_table_is_made(made: MakeFile) -> None:
    file = made()
    settings = {"create": True, "types": {"id": "INTEGER", "n": "INTEGER"}, "routes": ["u"]}
    file.opened(**settings).close()
    assert file.execute("SELECT id, n FROM t UNION ALL SELECT id, n FROM u") == []


def test_a_look_makes_no_table_and_no_file(made: MakeFile) -> None:
    file = made("CREATE TABLE other (id INTEGER)")
    types = {"create": True, "types": {"id": "INTEGER"}}
    (said,) = file.look(letters="dead", **types).notes
    assert said.startswith("would run: CREATE TABLE")
    assert file.execute("SELECT count(*) FROM other") == [(0,)]
    assert file.look(letters="dead", path="new.db", **types).notes == (
        f"the file {file.path.parent / 'new.db'} would be made",
    )
    assert not (file.path.parent / "new.db").exists()
    with pytest.raises(SinkFailed, match="no table t"):
        file.look()


def test_a_look_at_a_file_in_use_is_a_note(made: MakeFile, name: str) -> None:
    file = made("CREATE TABLE t (id INTEGER)")
    holder = (
        f"import {'duckdb' if name == 'duckdb' else 'sqlite3'} as base\n"
        f"held = base.connect({str(file.path)!r})\n"
        f"held.execute({'SELECT 1' if name == 'duckdb' else 'BEGIN EXCLUSIVE'!r})\n"
        "print(flush=True)\ninput()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            quickly = {"lock_timeout": "100ms"} if name == "sqlite" else {}
            (note,) = file.look(**quickly).notes
            assert note == f"{file.path} is in use, so nobody has looked at it"
        finally:
            other.kill()


def test_a_view_is_refused_before_the_start(made: MakeFile) -> None:
    file = made("CREATE TABLE u (id INTEGER)", "CREATE VIEW t AS SELECT * FROM u")
    with pytest.raises(SinkFailed, match="t is a view"):
        file.store()


def test_a_computed_column_is_left_out(made: MakeFile) -> None:
    file = made("CREATE TABLE t (id INTEGER, twice INTEGER GENERATED ALWAYS AS (id * 2))")
    assert stands(file, [(None, (4,))]) == [(4, 8)]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"table": "tt"}, "no table tt"),
        ({"path": "nix.db"}, "no file"),
        ({"path": "nix/t.db"}, "no folder"),
        ({"path": "text.db"}, "cannot be used"),
        ({"columns": {"idd": "1"}}, "no column idd"),
        ({"mode": "upsert", "key": ["version"]}, ""),
        ({"table": "tt", "create": True}, "without `types`"),
    ],
)
def test_preflight_says_what_does_not_fit(
    made: MakeFile, name: str, settings: Any, why: str
) -> None:
    file = made(TABLE)
    (file.path.parent / "text.db").write_text("not a database" * 100)
    with pytest.raises(SinkFailed, match=why or DATABASES[name].no_key):
        file.store(**settings)


def test_the_pages_pipeline_runs(tmp_path: Path, kafka: Kafka, name: str) -> None:
    topic = kafka.topic(2)
    (text,) = blocks(f"docs/sinks/{name}.md", "yaml")
    text = text.replace("[orders]", f"[{topic}]").replace("orders-in-a-file", kafka.name())
    (tmp_path / "pipeline.yaml").write_text(text)
    kafka.produce(topic, [*orders(100), ("k", '{"id": "x"}'), *orders(10)])
    env = {"KAFKA": kafka.bootstrap}
    with Daemon(tmp_path, "pipeline.yaml", "--until-end", env=env) as daemon:
        assert daemon.wait() == 0, daemon.said()
    database = DATABASES[name]
    with database.connect(tmp_path / f"shop.{database.suffix}") as connection:
        found = connection.execute("SELECT id FROM orders ORDER BY id").fetchall()
        letters = connection.execute("SELECT count(*) FROM orders_dead").fetchone()
    assert (found, letters) == ([(n,) for n in range(100)], (1,))


def test_dead_letters_in_the_table_are_looked_at_as_the_page_says(made: MakeFile) -> None:
    (query,) = blocks("docs/dead-letters/README.md", "sql")
    file = made(TABLE)
    store = file.opened(letters="orders_dead")
    letters = [b'{"error":{"type":"KeyError"}}', b'{"error":{"type":"KeyError"}}']
    store.commit(rows(), {P0: Move(0, 2)}, letters)
    store.close()
    assert [row[:2] for row in file.execute(query)] == [("KeyError", 2)]
