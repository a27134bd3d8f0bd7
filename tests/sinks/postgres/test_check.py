"""Settings and preflight: what does not fit is said at the start, with the next step."""

from __future__ import annotations

import threading

import pytest
from pydantic import ValidationError

from kafka_etl.contracts import Guarantee
from kafka_etl.errors import SinkFailed
from kafka_etl_connectors.postgres import SINK
from kafka_etl_connectors.postgres.settings import PostgresSettings, parts_of
from tests.sinks.postgres.conftest import Database


def given(**more):
    return PostgresSettings.model_validate({"table": "t"} | more)


def test_a_url_is_read_into_parts_and_shows_no_password():
    read = given(url="postgresql://etl:p%40ss@db.example:6432/shop?sslmode=verify-full")
    assert (read.host, read.port, read.dbname, read.user) == ("db.example", 6432, "shop", "etl")
    assert read.password is not None
    assert read.password.get_secret_value() == "p@ss"
    assert read.sslmode == "verify-full"
    assert "p@ss" not in repr(read)
    assert "p%40ss" not in repr(read)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://etl:hidden@db/shop"},
        {"url": "postgresql://etl:hidden@db:x/shop"},
        {"url": "postgresql://etl:hidden@db/shop?nonsense=1"},
        {"url": "postgresql://etl:hidden@db/shop", "dbname": "other"},
        {"table": "a.b.c"},
        {"table": ""},
        {"table": "x" * 64},
        {"offsets": {"table": "ü" * 32}},
        {"columns": {"x" * 64: "value"}},
        {"create": True},
        {"mode": "upsert"},
        {"routes": ["a.b.c"]},
        {"routes": ["t"]},
        {"routes": ["u", "u"]},
        {"set": {"to": "value.table"}},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError) as refused:
        given(**wrong)
    messages = [error["msg"] for error in refused.value.errors()]
    assert not any("hidden" in message for message in messages)


def test_names_of_tables():
    assert parts_of("orders") == ("orders",)
    assert parts_of("shop.Orders") == ("shop", "Orders")
    assert parts_of('"a.b"."c""d"') == ("a.b", 'c"d')


def test_the_label():
    assert SINK.label(given()).guarantee is Guarantee.EXACTLY_ONCE


def refused(database: Database, **more) -> str:
    with pytest.raises(SinkFailed) as failed:
        database.check(**more)
    return str(failed.value)


def test_a_missing_table_names_the_nearest(database: Database):
    database.run(
        "CREATE TABLE orders (id int); CREATE SCHEMA shop; CREATE TABLE shop.carts (id int)"
    )
    said = refused(database, table="order")
    assert "there is no table order; there is orders" in said
    assert "create: true" in said
    assert "shop.carts" in refused(database, table="shop.cart")


def test_a_missing_column_is_named(database: Database):
    database.run("CREATE TABLE t (id int, amount int NOT NULL)")
    said = refused(database, columns={"id": "value.id", "amuont": "value.a"})
    assert "did you mean `amount`?" in said
    assert "column amount needs a value" in said


@pytest.mark.parametrize(
    "index",
    [
        "SELECT 1",
        "CREATE UNIQUE INDEX ON t (id, v)",
        "CREATE UNIQUE INDEX ON t (id) WHERE id > 0",
        "CREATE INDEX ON t (id)",
        "ALTER TABLE t ADD UNIQUE (id) DEFERRABLE",
        "CREATE UNIQUE INDEX ON t ((id + 0))",
    ],
)
def test_an_upsert_needs_an_index_exactly_on_its_key(database: Database, index: str):
    database.run(f"CREATE TABLE t (id int, v int); {index}")
    said = refused(database, mode="upsert", key=["id"])
    assert 'CREATE UNIQUE INDEX ON "t" ("id");' in said
    database.run("CREATE UNIQUE INDEX ON t (id) INCLUDE (v)")
    database.check(mode="upsert", key=["id"])


def test_a_table_is_made_from_types(database: Database):
    found = database.check(
        create=True, types={"id": "bigint", "v": "numeric(5, 1)"}, mode="upsert", key=["id"]
    )
    assert [column.name for column in found.columns] == ["id", "v"]
    assert any(note.startswith('CREATE TABLE "t"') for note in found.notes)
    again = database.check(evolve=True, types={"id": "bigint", "more": "text"})
    assert again.notes == ('ALTER TABLE "t" ADD COLUMN "more" text',)
    assert database.check(evolve=True, types={"more": "text"}).notes == ()


def test_a_check_that_only_looks_makes_nothing(database: Database):
    database.letter_table = "letters"
    found = database.look(create=True, types={"id": "bigint"})
    assert ([column.name for column in found.columns], found.notes) == (["id"], ())
    with pytest.raises(SinkFailed, match="there is no table t"):
        database.look()
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert database.run(tables) == []


def test_many_preflights_at_once_make_one_table(database: Database):
    failed = []

    def check() -> None:
        try:
            database.check(create=True, types={"id": "bigint"})
        except SinkFailed as error:
            failed.append(error)

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_rights_are_checked_and_the_grant_is_said(database: Database):
    database.run("CREATE TABLE t (id int UNIQUE); DROP ROLE IF EXISTS reader")
    database.run("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON t TO reader")
    user = {"user": "reader", "password": "r"}
    said = refused(database, **user)
    assert "CREATE TABLE IF NOT EXISTS" in said, "the SQL for those who may"
    database.run("GRANT CREATE ON SCHEMA public TO reader")
    assert 'GRANT INSERT ON "t" TO "reader";' in refused(database, **user)
    said = refused(database, mode="replace", key=["id"], **user)
    assert "INSERT, UPDATE, DELETE" in said
    database.run("DROP OWNED BY reader; DROP ROLE reader")


def test_a_wrong_password_stops_the_start_without_saying_it(database: Database):
    said = refused(database, password="wr0ng-one")
    assert "refuses the connection" in said
    assert "wr0ng-one" not in said


def test_offsets_of_another_cluster_stop_the_start(database: Database):
    database.run("CREATE TABLE t (id int)")
    store = database.store()
    store.close()
    database.run("UPDATE kafka_etl_offsets SET cluster = 'elsewhere'")
    assert "another Kafka cluster, elsewhere" in refused(database)
    database.check(offsets={"name": "another"})


def test_an_unlogged_table_is_remarked_on(database: Database):
    database.run("CREATE UNLOGGED TABLE t (id int)")
    assert any("UNLOGGED" in note for note in database.check().notes)


def test_every_table_is_checked(database):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    with pytest.raises(SinkFailed, match="no table u"):
        database.check(routes=["u"])
    database.run("CREATE TABLE u (id int PRIMARY KEY, v text)")
    with pytest.raises(SinkFailed, match="table u is not like t: id differ"):
        database.check(routes=["u"])
    database.run("ALTER TABLE u DROP id, ADD id bigint NOT NULL")
    with pytest.raises(SinkFailed, match="table u has no unique index"):
        database.check(routes=["u"], mode="upsert", key=["id"])
    database.run("ALTER TABLE u ADD PRIMARY KEY (id)")
    assert database.check(routes=["u"], mode="upsert", key=["id"]).notes == ()
