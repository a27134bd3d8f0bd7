"""Rows that the server refuses: exactly the bad ones are named, and nothing is written."""

from __future__ import annotations

import random
import threading

import psycopg
import pyarrow as pa
import pytest

from kafka_etl.contracts import RefusedRows, Unreachable
from kafka_etl.testing import rows
from kafka_etl_connectors.postgres.blame import copied_line
from kafka_etl_connectors.postgres.verdict import Fault, fault_of
from tests.sinks.postgres.conftest import TP, Database, made, move

SQLSTATES = [
    ("22001", "row"), ("22003", "row"), ("22P02", "row"), ("22021", "row"), ("23502", "row"),
    ("23503", "row"), ("23505", "row"), ("23514", "row"), ("23P01", "row"), ("44000", "row"),
    ("P0001", "row"), ("54000", "row"), ("40001", "again"), ("40P01", "again"), ("42501", "mend"),
    ("28P01", "mend"), ("3D000", "mend"), ("53100", "mend"), ("42P01", "schema"),
    ("42703", "schema"), ("42804", "schema"), ("08P01", "schema"), ("08006", "target"),
    ("25006", "target"), ("53300", "target"),
    ("55P03", "target"), ("57P01", "target"), ("57014", "target"), ("58030", "target"),
    ("XX000", "target"), ("0A000", "target"), ("21000", "target"), ("ZZ999", "target"),
    ("P0002", "target"), (None, "target"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "fault"), SQLSTATES)
def test_whose_fault_a_code_is(state: str | None, fault: str):
    assert fault_of(state) == fault


def test_a_policy_refuses_a_row_and_a_missing_right_everybody():
    assert fault_of("42501", "ExecWithCheckOptions") is Fault.ROW
    assert fault_of("42501", "aclcheck_error") is Fault.MEND


@pytest.mark.parametrize(
    ("context", "line"),
    [
        ("COPY t, line 17", 17),
        ('COPY t2, line 17, column b: "9"', 17),
        ("COPY t2, Zeile 17, Spalte b", 17),
        ("COPY t, строка 3", 3),
        ('SQL statement "x"\nPL/pgSQL function f() line 3 at RAISE\nCOPY t, line 5', 5),
        ("PL/pgSQL function f() line 3 at RAISE", None),
        (None, None),
    ],
)
def test_the_line_that_copy_names(context: str | None, line: int | None):
    assert copied_line(context) == line


def test_rows_of_several_tables_are_blamed_as_those_of_one(database):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    database.run("CREATE TABLE u (v text, id bigint PRIMARY KEY)")
    store = database.store(routes=["u"])
    values = [(n // 2, "a\0" if n == 4 else "b") for n in range(200)] + [(0, "twice"), (0, "twice")]
    sent = [None, "u"] * 100 + ["t", "u"]
    given = rows(*values, destinations=sent)
    with pytest.raises(RefusedRows) as refused:
        store.commit(given, move(0, 202), [])
    assert set(refused.value.rows) == {4, 200, 201}
    good = [at for at in range(202) if at not in refused.value.rows]
    store.commit(given.take(good), move(0, 202), [])
    assert database.run("SELECT count(*) FROM t") == [99]
    assert database.run("SELECT count(*) FROM u") == [100]


REFUSALS = [
    ("id bigint, v text NOT NULL", (1, "a"), (2, None), "23502"),
    ("id bigint PRIMARY KEY, v text", (1, "a"), (1, "b"), "23505"),
    ("id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED, v text", (1, "a"), (1, "b"), "23505"),
    ("id bigint CHECK (id < 5), v text", (1, "a"), (7, "b"), "23514"),
    ("id bigint REFERENCES parents, v text", (1, "a"), (7, "b"), "23503"),
    (
        "id bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED, v text",
        (1, "a"),
        (7, "b"),
        "23503",
    ),
    ("id bigint, v varchar(3)", (1, "abc"), (2, "abcd"), "22001"),
    ("id numeric(3, 1), v text", (1, "a"), (100, "b"), "22003"),
    ("id bigint, v mood", (1, "glad"), (2, "mad"), "22P02"),
    ("id bigint, v short", (1, "abc"), (2, "abcd"), "23514"),
    ("id bigint, v jsonb", (1, "{}"), (2, '{"a":"\\u0000"}'), "22P05"),
    ("id bigint, v text, EXCLUDE USING btree (id WITH =)", (1, "a"), (1, "b"), "23P01"),
]  # fmt: skip
BASE = """CREATE TABLE parents (id bigint PRIMARY KEY); INSERT INTO parents VALUES (1), (2);
CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN short AS text CHECK (length(VALUE) < 4);"""


@pytest.mark.parametrize(("columns", "good", "bad", "code"), REFUSALS, ids=lambda v: str(v)[:40])
def test_the_bad_row_is_named(database: Database, columns, good, bad, code):
    database.run(f"{BASE} CREATE TABLE t ({columns})")
    store = database.store()
    with pytest.raises(RefusedRows) as refused:
        store.commit(made([good, bad]), move(0, 2), [])
    assert {at: one.code for at, one in refused.value.rows.items()} == {1: code}
    assert database.run("SELECT * FROM t") == []
    assert store.offsets([TP])[TP].next == 0
    store.commit(made([good]), move(0, 2), [])
    assert database.run("SELECT count(*) FROM t") == [1]


def test_a_trigger_and_a_view_and_a_policy_refuse_rows(database: Database):
    database.run("""CREATE TABLE t (id bigint); CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN
        IF NEW.id = 3 THEN RAISE 'no three'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
        CREATE VIEW w AS SELECT * FROM t WHERE id > 1 WITH CHECK OPTION;
        CREATE TABLE p (id bigint); ALTER TABLE p ENABLE ROW LEVEL SECURITY;
        CREATE POLICY x ON p USING (id > 1); DROP ROLE IF EXISTS clerk;
        CREATE ROLE clerk LOGIN PASSWORD 'clerk'; GRANT ALL ON p TO clerk;
        GRANT CREATE ON SCHEMA public TO clerk""")
    for table, code, bad, more in (
        ("t", "P0001", 3, {}),
        ("w", "44000", 1, {}),
        ("p", "42501", 1, {"user": "clerk", "password": "clerk"}),
    ):
        offsets = {"offsets": {"table": f"offsets_{table}"}}
        store = database.store(table=table, **more, **offsets)
        with pytest.raises(RefusedRows) as refused:
            store.commit(made([(2,), (bad,)]), move(0, 2), [])
        assert {at: one.code for at, one in refused.value.rows.items()} == {1: code}
        store.commit(made([(2,)]), move(0, 2), [])
        store.close()
    database.run("DROP OWNED BY clerk; DROP ROLE clerk")


def test_values_that_the_client_cannot_send_are_the_rows(database: Database):
    database.run("CREATE TABLE t (id bigint, v text)")
    store = database.store()
    with pytest.raises(RefusedRows) as refused:
        store.commit(made([(1, "a"), (2, "a\0b"), (2**70, "c"), (3, "d")]), move(0, 4), [])
    assert sorted(refused.value.rows) == [1, 2]


def test_a_row_too_large_for_its_index_is_refused(database: Database):
    database.run("CREATE TABLE t (v text PRIMARY KEY)")
    store = database.store()
    large = "".join(chr(random.randrange(200, 50000)) for _ in range(9000))
    with pytest.raises(RefusedRows) as refused:
        store.commit(made([("a",), (large,)]), move(0, 2), [])
    assert refused.value.rows[1].code == "54000"
    assert refused.value.rows[1].too_large


MANY = 10_000
CHECKS = [
    "id bigint CHECK (id >= 0)",
    "id bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED",
]


@pytest.mark.parametrize("arrow", [False, True])
@pytest.mark.parametrize("columns", CHECKS)
def test_one_bad_row_of_ten_thousand(database: Database, columns: str, arrow: bool):
    database.run(
        f"{BASE} INSERT INTO parents SELECT generate_series(3, {MANY}); CREATE TABLE t ({columns})"
    )
    ids = [*range(1, 7001), -1, *range(7001, MANY)]
    store = database.store()
    rows = made([], table=pa.table({"id": ids})) if arrow else made([(n,) for n in ids])
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows, move(0, MANY), [])
    assert list(refused.value.rows) == [7000]


@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_every_bad_row_is_found_in_one_pass(database: Database, mode: str):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, v int CHECK (v >= 0))")
    bad = {*range(0, 3000, 37), *range(1000, 1100), 2999}
    values = [(n, -1 if n in bad else n) for n in range(3000)]
    store = database.store(mode=mode, key=[] if mode == "insert" else ["id"])
    with pytest.raises(RefusedRows) as refused:
        store.commit(made(values, [(n,) for n in range(3000)]), move(0, 3000), [])
    assert refused.value.rows.keys() == bad
    rest = [value for value in values if value[0] not in bad]
    store.commit(made(rest, [(v[0],) for v in rest]), move(0, 3000), [])
    assert database.run("SELECT count(*) FROM t") == [3000 - len(bad)]


def test_an_older_row_returns_when_the_newer_is_refused(database: Database):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, v int CHECK (v < 5))")
    store = database.store(mode="upsert", key=["id"])
    with pytest.raises(RefusedRows) as refused:
        store.commit(made([(1, 1), (1, 9)], [(1,), (1,)]), move(0, 2), [])
    assert list(refused.value.rows) == [1]
    store.commit(made([(1, 1)], [(1,)]), move(0, 2), [])
    assert database.run("SELECT * FROM t") == [(1, 1)]


def test_a_child_before_its_parent_is_not_blamed_for_another_row(database: Database):
    database.run("""CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL,
        up bigint REFERENCES t DEFERRABLE INITIALLY DEFERRED)""")
    store = database.store()
    values = [(1, 1, 4), (2, 1, 99), (3, None, None), (4, 1, None)]
    with pytest.raises(RefusedRows) as refused:
        store.commit(made(values), move(0, 4), [])
    assert {at: one.code for at, one in refused.value.rows.items()} == {1: "23503", 2: "23502"}


def test_all_rows_bad_is_no_rows_fault(database: Database):
    database.run("CREATE TABLE t (id bigint CHECK (id < 0))")
    store = database.store()
    with pytest.raises(Unreachable, match="refuses every row") as away:
        store.commit(made([(n,) for n in range(5000)]), move(0, 5000), [])
    assert away.value.mend


ALTERED = [
    ("DROP TABLE t", "the table is gone"),
    ("ALTER TABLE t DROP COLUMN v", "column v is gone"),
    ("ALTER TABLE t ADD w int NOT NULL", "column w is new, and needs a value"),
    ("ALTER TABLE t ALTER v TYPE int USING 1", "column v is integer now"),
    ("ALTER TABLE t ALTER id TYPE int", "column id is integer now"),
    ("ALTER TABLE t ALTER id TYPE float8", "column id is double precision now"),
]


@pytest.mark.parametrize(("change", "said"), ALTERED)
def test_a_changed_table_costs_no_row(database: Database, change: str, said: str):
    database.run("CREATE TABLE t (id bigint, v text)")
    store = database.store()
    database.run(change)
    with pytest.raises(Unreachable, match=said) as away:
        store.commit(made([(1, "a")]), move(0, 1), [])
    assert away.value.mend


def test_a_harmless_change_stops_nothing(database: Database):
    database.run("CREATE TABLE t (id bigint, v text)")
    store = database.store()
    database.run("ALTER TABLE t ADD w int")
    store.commit(made([(1, "a")]), move(0, 1), [])
    assert database.run("SELECT * FROM t") == [(1, "a", None)]


def test_a_deadlock_is_tried_again(database: Database):
    database.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)"
    )
    store = database.store(mode="upsert", key=["id"])
    failed = []
    with database.connect() as other:
        other.execute("BEGIN; SET LOCAL deadlock_timeout = '10s'; UPDATE t SET v = 7 WHERE id = 2")

        def late() -> None:
            try:
                other.execute("UPDATE t SET v = 7 WHERE id = 1; COMMIT")
            except psycopg.Error as error:
                failed.append(error)

        timer = threading.Timer(0.05, late)
        timer.start()
        store.commit(made([(1, 1), (2, 1)], [(1,), (2,)]), move(0, 2), [])
        timer.join()
    assert not failed
    assert database.run("SELECT * FROM t ORDER BY id") == [(1, 1), (2, 1)]


def test_no_row_data_in_what_is_said_of_the_target(database: Database):
    database.run("CREATE TABLE t (id bigint, v text); GRANT ALL ON t TO postgres")
    database.run("""CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN
        RAISE 'sorry' USING ERRCODE = 'ZZ999', DETAIL = NEW.v; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()""")
    store = database.store()
    with pytest.raises(Unreachable) as away:
        store.commit(made([(1, "secret")]), move(0, 1), [])
    assert away.value.reason == "PostgreSQL: sorry (ZZ999)"


def test_a_hundred_bad_rows_before_a_good_one_are_all_named(database):
    database.run("CREATE TABLE t (id bigint CHECK (id >= 100), v text)")
    store = database.store()
    with pytest.raises(RefusedRows) as refused:
        store.commit(made([(n, "a") for n in range(101)]), move(0, 101), [])
    assert set(refused.value.rows) == set(range(100))
