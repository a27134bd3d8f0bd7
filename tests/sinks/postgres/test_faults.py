"""A server that is away, cut off or killed, and others that hold locks: each row is there once."""

from __future__ import annotations

import threading
import time

import pytest

from kafka_etl.contracts import Conflict, Unreachable
from tests.kit.cut import Cut
from tests.kit.postgres import running
from tests.sinks.postgres.conftest import TP, Database, made, move

ROWS = [(n, "x" * 40) for n in range(300)]


def settle(store, size: int = 100) -> None:
    """Commit ROWS from where the store stands, as the engine does after an error."""
    while (at := store.offsets([TP])[TP].next) < len(ROWS):
        try:
            store.commit(made(ROWS[at : at + size]), move(at, at + size), [])
        except Conflict:
            continue


@pytest.mark.parametrize("way", ["to_server", "to_client"])
def test_a_line_cut_anywhere_doubles_and_loses_nothing(database: Database, way: str):
    database.run("CREATE TABLE t (id bigint, v text)")
    with Cut(database.server.port) as cut:
        store = database.store(port=cut.port, sslmode="disable", connect_timeout="2s")
        sent = getattr(cut, way)
        store.commit(made(ROWS[:100]), move(0, 100), [])
        total = getattr(cut, way) - sent
        broken = 0
        points = sorted(
            {*range(1, total, max(1, total // 12)), *range(max(1, total - 24), total + 1, 4)}
        )
        for point in points:
            database.run("TRUNCATE t; UPDATE kafka_etl_offsets SET next = 0")
            store.close()
            store.connect()
            setattr(cut, f"cut_{way}", getattr(cut, way) + point)  # bytes of this commit
            try:
                store.commit(made(ROWS[:100]), move(0, 100), [])
            except Unreachable:
                broken += 1
            cut.free()
            store.close()
            store.connect()
            settle(store)
            assert database.run("SELECT count(*), count(DISTINCT id) FROM t") == [(300, 300)], point
        assert broken > len(points) / 2


def test_the_answer_to_commit_is_lost(database: Database):
    database.run("CREATE TABLE t (id bigint, v text)")
    with Cut(database.server.port) as cut:
        store = database.store(port=cut.port, sslmode="disable")
        before = cut.to_client
        store.commit(made(ROWS[:100]), move(0, 100), [])
        answers = cut.to_client - before
        cut.cut_to_client = cut.to_client + answers - 5
        with pytest.raises(Unreachable):
            store.commit(made(ROWS[100:200]), move(100, 200), [])
        cut.free()
        store.close()
        store.connect()
        assert store.offsets([TP])[TP].next == 200, "committed, though nobody heard of it"
        settle(store)
        assert database.run("SELECT count(*), count(DISTINCT id) FROM t") == [(300, 300)]


def test_a_server_killed_and_started_again():
    with running() as server:
        database = Database(server, "postgres")
        database.run("CREATE TABLE t (id bigint, v text)")
        store = database.store()
        store.commit(made(ROWS[:100]), move(0, 100), [])
        server.kill()
        with pytest.raises(Unreachable):
            store.commit(made(ROWS[100:200]), move(100, 200), [])
        store.close()
        with pytest.raises(Unreachable, match="cannot be reached") as away:
            store.connect()
        assert not away.value.mend
        server.start()
        store.connect()
        settle(store)
        assert database.run("SELECT count(*), count(DISTINCT id) FROM t") == [(300, 300)]
        database.close()


def test_a_lock_that_another_holds_is_waited_for_and_named(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    store = database.store(lock_timeout="200ms")
    with database.connect() as other:
        other.execute("BEGIN; SELECT 1 FROM kafka_etl_offsets FOR UPDATE")
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="another transaction holds a lock"):
            store.commit(made([(1,)]), move(0, 1), [])
        assert time.monotonic() - begun < 3
        other.execute("ROLLBACK")
    store.commit(made([(1,)]), move(0, 1), [])


def test_an_owner_that_hangs_in_its_transaction_is_ended_by_the_server(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    with Cut(database.server.port) as cut:
        hung = database.store(port=cut.port, sslmode="disable", lock_timeout="100ms")
        hung._connection.execute("BEGIN; SET LOCAL idle_in_transaction_session_timeout = '300ms'")
        hung._connection.execute("SELECT 1 FROM kafka_etl_offsets FOR UPDATE")
        cut.silent = True
        other = database.store(lock_timeout="3s")
        other.commit(made([(1,)]), move(0, 1), [])


def test_a_zombie_conflicts(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    zombie, owner = database.store(), database.store()
    owner.commit(made([(1,)]), move(0, 1), [])
    with pytest.raises(Conflict):
        zombie.commit(made([(1,)]), move(0, 1), [])
    zombie.commit(made([(2,)]), move(1, 2), [])
    assert database.run("SELECT * FROM t ORDER BY id") == [1, 2]


def test_two_stores_of_one_name_write_each_row_once(database: Database):
    database.run("CREATE TABLE t (id bigint, v text)")
    stores = [database.store(), database.store()]
    threads = [threading.Thread(target=settle, args=(store, 10)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert database.run("SELECT count(*), count(DISTINCT id) FROM t") == [(300, 300)]


def test_a_wrong_password_is_for_a_user_to_mend(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    for wrong in ({"password": "wr0ng-one"}, {"user": "nobody"}):
        store = database.store()
        store.close()
        store._settings = database.settings(**wrong)
        with pytest.raises(Unreachable, match="refuses the connection") as away:
            store.connect()
        assert away.value.mend
        assert "wr0ng-one" not in away.value.reason
    store._settings = database.settings(dbname="nowhere")
    with pytest.raises(Unreachable, match="does not exist"):
        store.connect()


def test_a_database_that_became_read_only_makes_no_letter(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    store = database.store()
    store._connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(Unreachable, match="25006") as away:
        store.commit(made([(1,)]), move(0, 1), [])
    assert not away.value.mend
    database.run(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    store.close()
    with pytest.raises(Unreachable):
        store.connect()


@pytest.mark.parametrize("silent", [False, True])
def test_interrupt_breaks_a_call(database: Database, silent: bool):
    database.run("CREATE TABLE t (id bigint)")
    with Cut(database.server.port) as cut:
        store = database.store(port=cut.port, sslmode="disable")
        with database.connect() as other:
            other.execute("BEGIN; LOCK TABLE t")
            cut.silent = silent
            timer = threading.Timer(0.2, store.interrupt)
            timer.start()
            begun = time.monotonic()
            with pytest.raises(Unreachable):
                store.commit(made([(1,)]), move(0, 1), [])
            assert time.monotonic() - begun < 5
            timer.join()


def test_a_host_that_says_nothing_is_given_up(database: Database):
    database.run("CREATE TABLE t (id bigint)")
    with Cut(database.server.port) as cut:
        cut.silent = True
        store = database.store(port=cut.port, connected=False, connect_timeout="2s")
        with pytest.raises(Unreachable):
            store.connect()
        cut.free()
        cut.refuse = True
        with pytest.raises(Unreachable):
            store.connect()


def test_a_missing_right_is_for_a_user_to_mend(database: Database):
    database.run("CREATE TABLE t (id bigint); DROP ROLE IF EXISTS guest")
    database.run("CREATE ROLE guest LOGIN PASSWORD 'guest'; GRANT INSERT ON t TO guest")
    database.run("GRANT CREATE ON SCHEMA public TO guest")
    store = database.store(user="guest", password="guest")
    database.run("REVOKE INSERT ON t FROM guest")
    with pytest.raises(Unreachable, match="GRANT") as away:
        store.commit(made([(1,)]), move(0, 1), [])
    assert away.value.mend
    store.close()
    database.run("DROP OWNED BY guest; DROP ROLE guest")
