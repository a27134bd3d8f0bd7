"""The store on a real server: rows and offsets together, the last row of a key, all types."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest

from kafka_etl.contracts import Conflict, Move, StoredOffset
from kafka_etl.record import Partition
from tests.sinks.postgres.conftest import TP, Database, made, move


def test_rows_and_offsets_come_together(database: Database):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, name text)")
    store = database.store()
    store.commit(made([(1, "a"), (2, None)]), move(0, 2), [])
    assert database.run("SELECT * FROM t ORDER BY id") == [(1, "a"), (2, None)]
    assert store.offsets([TP, Partition("in", 7)]) == {TP: StoredOffset(2, 0, "id", "g")}


def test_a_commit_from_elsewhere_writes_nothing(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    store = database.store()
    other = Partition("in", 1)
    store.place({other: StoredOffset(5)}, overwrite=False)
    with pytest.raises(Conflict) as conflict:
        store.commit(made([(1,)]), {TP: Move(0, 1), other: Move(4, 6)}, [])
    assert conflict.value.partitions == {other}
    with pytest.raises(Conflict):
        store.commit(made([(1,)]), move(0, 1, generation=1), [])
    assert database.run("SELECT * FROM t") == []
    store.commit(made([(1,)]), {TP: Move(0, 1), other: Move(5, 6)}, [])
    assert database.run("SELECT * FROM t") == [1]


def test_place_keeps_or_overwrites(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    store = database.store()
    store.place({TP: StoredOffset(9, 1, "new", "h")}, overwrite=False)
    assert store.offsets([TP])[TP].next == 0
    store.place({TP: StoredOffset(9, 1, "new", "h")}, overwrite=True)
    assert store.offsets([TP])[TP] == StoredOffset(9, 1, "new", "h")


def test_a_thousand_partitions_move_at_once(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    store = database.store()
    many = [Partition("in", n) for n in range(1000)]
    store.place({tp: StoredOffset(0) for tp in many}, overwrite=True)
    store.commit(made([]), {tp: Move(0, tp.number) for tp in many}, [])
    assert store.offsets(many) == {tp: StoredOffset(tp.number) for tp in many}


def test_letters_come_with_the_rows(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    database.letter_table = "public.bad"
    store = database.store()
    store.commit(made([(1,)]), move(0, 2), [json.dumps({"why": "NUL \0"}).encode()])
    assert database.run("SELECT letter::text FROM bad") == ['{"why": "NUL \\u0000"}']


EVERY = """
CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN short AS text CHECK (length(VALUE) < 4);
CREATE TABLE t (
  b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(8, 2), t text, v varchar(5),
  c char(3), by bytea, d date, ti time, ts timestamp, tz timestamptz, u uuid, j json, jb jsonb,
  a bigint[], ta text[], g int GENERATED ALWAYS AS (1) STORED
  {more})
"""
WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 - for a naive column
VALUES = (
    True, 1, 2, 2**63 - 1, 0.5, 0.1, Decimal("12.30"), 'ü"', "abc", "xy ", b"\0\xff",
    dt.date(2026, 1, 2), dt.time(1, 2, 3), WHEN, WHEN.replace(tzinfo=dt.UTC), uuid.UUID(int=5),
    '{"a":1}', '{"a": 1}', [1, None], ["x,", 'q"'],
)  # fmt: skip
BACK = (*VALUES[:16], {"a": 1}, {"a": 1}, *VALUES[18:], 1)


@pytest.mark.parametrize("mode", ["insert", "replace"])
def test_every_type_comes_back_as_it_was(database: Database, mode: str):
    database.run(EVERY.format(more=""))
    database.run("CREATE UNIQUE INDEX ON t (i8)")
    store = database.store(mode=mode, key=[] if mode == "insert" else ["i8"])
    store.commit(made([VALUES]), move(0, 1), [])
    (back,) = database.run("SELECT * FROM t")
    assert back == BACK


def test_enums_and_domains_go_as_text(database: Database):
    database.run(EVERY.format(more=", m mood, s short, ms mood[], ip inet"))
    store = database.store()
    store.commit(made([(*VALUES, "sad", "abc", ["glad"], "10.0.0.1")]), move(0, 1), [])
    (back,) = database.run("SELECT t.*, ms::text[], ip::text FROM t")
    assert back[:21] == BACK
    assert back[21:23] == ("sad", "abc")
    assert back[-2:] == (["glad"], "10.0.0.1/32")


def test_columns_are_read_as_they_are(database: Database):
    database.run(
        EVERY.format(more=", k int GENERATED ALWAYS AS IDENTITY, o int NOT NULL DEFAULT 3")
    )
    found = {column.name: column for column in database.check().columns}
    assert (found["n"].precision, found["n"].scale) == (8, 2)
    assert (found["v"].length, found["c"].length) == (5, 3)
    assert not found["g"].writable
    assert not found["k"].writable
    assert found["o"].optional
    assert not found["o"].nullable
    assert found["a"].many
    assert not found["t"].nul


TEXTS = ["x", None, "", 'q"u,\n', "\\N", "\\.", "  ", "\r\n"]


def test_an_arrow_table_arrives_exactly(database: Database):
    database.run("CREATE TABLE t (t text, i bigint, f double precision, r real, z timestamptz)")
    zone = dt.timezone(dt.timedelta(hours=1))
    table = pa.table(
        {
            "z": pa.array([WHEN.replace(tzinfo=zone)] * 8, pa.timestamp("us", "Europe/Berlin")),
            "t": pa.array(TEXTS),
            "i": pa.array([-(2**63), None, *range(6)]),
            "f": pa.array([0.1, 1 / 3, 5e-324, 1e300, None, -0.0, 1.0, 2.0]),
            "r": pa.array([0.1, 1e-40, 3.4e38, None, 1.0, 2.0, 3.0, 16777217.0], pa.float32()),
        }
    )
    store = database.store()
    store.commit(made([], table=table), move(0, 8), [])
    back = database.run("SELECT t, i, f, r, z FROM t")
    assert [row[0] for row in back] == TEXTS
    assert [row[1] for row in back] == table["i"].to_pylist()
    assert [row[2] for row in back] == table["f"].to_pylist()
    assert pa.array([row[3] for row in back], pa.float32()) == table["r"].combine_chunks()
    assert {row[4] for row in back} == {WHEN.replace(tzinfo=zone)}


def test_an_upsert_keeps_the_last_of_each_key(database: Database):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, v text, other text DEFAULT 'mine')")
    database.run("INSERT INTO t VALUES (1, 'old', 'kept')")
    store = database.store(mode="upsert", key=["id"], columns={"id": "value.id", "v": "value.v"})
    store.commit(made([(1, "a"), (2, "b"), (1, "c")], [(1,), (2,), (1,)]), move(0, 3), [])
    store.commit(made([(2, "d")], [(2,)]), move(3, 4), [])
    assert database.run("SELECT * FROM t ORDER BY id") == [(1, "c", "kept"), (2, "d", "mine")]


def test_a_replaced_row_keeps_nothing(database: Database):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, v text, other text DEFAULT 'mine')")
    database.run("INSERT INTO t VALUES (1, 'old', 'gone')")
    store = database.store(mode="replace", key=["id"], columns={"id": "value.id", "v": "value.v"})
    store.commit(made([(1, "a"), (1, "c")], [(1,), (1,)]), move(0, 2), [])
    assert database.run("SELECT * FROM t ORDER BY id") == [(1, "c", "mine")]


KEYED = {"mode": "upsert", "key": {"id": "key.id"}}


def test_tombstones_delete_in_their_order(database: Database):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    database.run("INSERT INTO t VALUES (1, 'x'), (2, 'x'), (3, 'x'), (9, 'x')")
    store = database.store(**KEYED)
    values = [(1, "a"), None, None, (2, "b"), None, (4, "d")]
    keys = [(1,), (1,), (2,), (2,), (3,), (4,)]
    store.commit(made(values, keys), move(0, 6), [])
    assert database.run("SELECT * FROM t ORDER BY id") == [(2, "b"), (4, "d"), (9, "x")]


@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_newer_rows_win_whatever_the_cuts(database: Database, mode: str):
    rows = [(1, 5, "new"), (1, 3, "old"), (1, None, "none"), (1, 5, "last")]
    for cuts in ([rows], [[row] for row in rows], [rows[:2], rows[2:]]):
        database.run("DROP TABLE IF EXISTS t, kafka_etl_offsets")
        database.run("CREATE TABLE t (id bigint PRIMARY KEY, n int, v text)")
        store = database.store(mode=mode, key=["id"], newer="n")
        at = 0
        for cut in cuts:
            store.commit(made(cut, [(1,)] * len(cut)), move(at, at + len(cut)), [])
            at += len(cut)
        assert database.run("SELECT v FROM t") == ["last"]
        store.close()


def test_keys_are_compared_as_the_server_does(database: Database):
    database.run("CREATE TABLE t (id char(5) PRIMARY KEY, v text)")
    store = database.store(mode="upsert", key=["id"])
    store.commit(made([("a", "1"), ("a ", "2")], [("a",), ("a ",)]), move(0, 2), [])
    assert database.run("SELECT v FROM t") == ["2"]


def test_row_security_and_views_take_rows_without_copy(database: Database):
    database.run("CREATE TABLE base (id bigint); CREATE VIEW t AS SELECT * FROM base WHERE id > 0")
    store = database.store()
    store.commit(made([(2,), (1,)]), move(0, 2), [])
    assert database.run("SELECT * FROM base") == [2, 1]


@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_a_pooler_needs_no_session(database: Database, mode: str):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    key = [] if mode == "insert" else ["id"]
    store = database.store(mode=mode, key=key, pooling="transaction")
    for n in range(8):
        store.commit(made([(n, "a")], [(n,)]), move(n, n + 1), [])
        assert database.run("SELECT 1 FROM pg_class WHERE relname LIKE 'kafka_etl_staged%'") == []
    assert database.run("SELECT count(*) FROM t") == [8]


def test_names_need_no_care(database: Database):
    database.run(
        'CREATE SCHEMA "Sh.op"; CREATE TABLE "Sh.op"."Or""der" ("a b%s" int UNIQUE, "Sel" int)'
    )
    store = database.store(table='"Sh.op"."Or""der"', mode="upsert", key=["a b%s"])
    store.commit(made([(1, 2)], [(1,)]), move(0, 1), [])
    assert database.run('SELECT * FROM "Sh.op"."Or""der"') == [(1, 2)]
