"""The store `redis` on a real server: its suite, its targets, and its faults."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.contracts import Move, RefusedRows, StoredOffset, Unreachable
from kafka_etl.errors import SinkFailed
from kafka_etl.record import Partition
from kafka_etl.testing import StoreContract, StoreSystem, deployment, rows
from kafka_etl_connectors.redis import SINK
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.pages import blocks
from tests.kit.pipeline import Project, orders
from tests.kit.valkey import PASSWORD, Valkey, running

PAGE = "docs/sinks/redis.md"
SLOW = """
import time
def slowly(order: dict) -> dict:
    time.sleep(0.001)
    return order
"""
P0 = Partition("in", 0)
_NAMES = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running(tmp_path_factory.mktemp("valkey")) as started:
        yield started


def settings_of(server: Valkey, **more: Any) -> Any:
    return SINK.settings.model_validate({**server.address, "into": "stream", **more})


def store_of(server: Valkey, **more: Any) -> Any:
    settings = settings_of(server, **more)
    SINK.check(settings, deployment())
    return SINK.build(settings, deployment())


def opened(server: Valkey, **more: Any) -> Any:
    store = store_of(server, **more)
    store.connect()
    store.place({P0: StoredOffset(0)}, overwrite=False)
    return store


class StreamSystem(StoreSystem):
    def __init__(self, server: Valkey) -> None:
        self._server = server
        self._name = f"stream{next(_NAMES)}"

    def store(self) -> Any:
        return store_of(self._server, name=self._name)

    def rows_in_target(self) -> Sequence[Any]:
        return [entry[b"value"] for _, entry in self._server.client().xrange(self._name)]


class HashSystem(StoreSystem):
    upserts = deletes = True

    def __init__(self, server: Valkey) -> None:
        self._server = server
        self._name = f"hash{next(_NAMES)}"

    def store(self) -> Any:
        return store_of(self._server, into="hash", name=self._name)

    def rows_in_target(self) -> Sequence[Any]:
        return list(self._server.client().hgetall(self._name).values())


class TestRedisStream(StoreContract):
    @pytest.fixture
    def system(self, server: Valkey) -> StreamSystem:
        return StreamSystem(server)


class TestRedisHash(StoreContract):
    @pytest.fixture
    def system(self, server: Valkey) -> HashSystem:
        return HashSystem(server)


@pytest.mark.parametrize(
    ("into", "read"),
    [
        ("list", lambda client, name: client.lrange(name, 0, -1)),
        ("set", lambda client, name: sorted(client.smembers(name))),
        ("string", lambda client, name: [client.get(f"{name}k1"), client.get(f"{name}k2")]),
    ],
)
def test_rows_become_what_is_wanted(server: Valkey, into: str, read: Any) -> None:
    name = f"target{next(_NAMES)}"
    store = opened(server, into=into, **{"prefix" if into == "string" else "name": name})
    store.commit(rows(b"1", b"2", keys=[b"k1", b"k2"]), {P0: Move(0, 2)}, ())
    assert read(server.client(), name) == [b"1", b"2"]
    store.close()


def test_a_large_settlement_is_written_in_parts_none_of_them_twice(server: Valkey) -> None:
    name = f"parts{next(_NAMES)}"
    store = opened(server, name=name)
    values = [b"%d" % n for n in range(3500)]
    wanted = rows(*values)
    run, calls = store._run, count()

    def cut_off(part: Any, keys: Any) -> Any:
        answer = run(part, keys)
        if next(calls) == 1:
            raise Unreachable("the answer is lost")
        return answer

    store._run = cut_off
    with pytest.raises(Unreachable):
        store.commit(wanted, {P0: Move(0, 3500)}, ())
    stands = store.offsets([P0])[P0].next
    assert stands == 2000
    store._run = run
    rest = wanted.take(range(stands, 3500))
    store.commit(rest, {P0: Move(stands, 3500)}, ())
    found = [entry[b"value"] for _, entry in server.client().xrange(name)]
    assert found == values
    store.close()


def test_a_record_without_a_key_names_no_place(server: Valkey) -> None:
    store = opened(server, into="hash", name=f"hash{next(_NAMES)}")
    with pytest.raises(RefusedRows) as refused:
        store.commit(rows(b"1", b"2", keys=[b"k", None]), {P0: Move(0, 2)}, ())
    assert set(refused.value.rows) == {1}
    assert store.offsets([P0])[P0].next == 0
    store.close()


def test_a_target_of_another_type_is_to_be_mended(server: Valkey) -> None:
    name = f"odd{next(_NAMES)}"
    store = opened(server, name=name)
    server.client().set(name, "text")
    with pytest.raises(Unreachable) as away:
        store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    assert away.value.mend
    store.close()
    with pytest.raises(SinkFailed, match="is a string, not a stream"):
        store_of(server, name=name)


def test_a_wrong_password_is_said_without_it(server: Valkey) -> None:
    with pytest.raises(Unreachable, match=r"WRONGPASS|NOAUTH") as away:
        store_of(server, name="x", password="wrong-one")
    assert away.value.mend
    assert "wrong-one" not in str(away.value)
    assert PASSWORD not in repr(settings_of(server, name="x"))


def test_a_server_that_may_forget_keys_is_refused(server: Valkey) -> None:
    server.client().config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(SinkFailed, match="may vanish"):
            store_of(server, name="x")
    finally:
        server.client().config_set("maxmemory-policy", "noeviction")


def test_full_memory_writes_nothing_and_is_to_be_mended(server: Valkey) -> None:
    store = opened(server, name=f"full{next(_NAMES)}")
    server.client().config_set("maxmemory", "1mb")
    try:
        with pytest.raises(Unreachable, match="OOM") as away:
            store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
        assert away.value.mend
    finally:
        server.client().config_set("maxmemory", "0")
    assert store.offsets([P0])[P0].next == 0
    store.close()


def until_entries_come(daemon: Daemon, server: Valkey, name: str, wanted: int) -> None:
    """Wait for some of the last records: a worker is at work then, and has more to do."""
    deadline = time.monotonic() + 60
    while server.client().xlen(name) < wanted or not daemon.workers():
        assert time.monotonic() < deadline, daemon.said()[-5000:]
        time.sleep(0.02)


def test_whatever_dies_each_record_is_one_entry(
    tmp_path: Path, kafka: Kafka, server: Valkey
) -> None:
    """The page's pipeline."""
    made = Project(tmp_path, kafka, code=SLOW)
    (text,) = blocks(PAGE, "yaml")
    text = text.replace("sink:", "operators: ['ops:slowly']\nsink:")
    text = text.replace("[orders]", f"[{made.source}]").replace("orders-to-redis", made.name)
    made.file.write_text(text.replace("name: orders", f"name: {made.sink}"))
    env = {"KAFKA": kafka.bootstrap, "REDIS_HOST": "127.0.0.1", "REDIS_PASSWORD": PASSWORD}
    env["REDIS_PORT"] = str(server.port)
    ids = 0
    with Daemon(tmp_path, str(made.file), env=env) as daemon:
        for victim in ("worker", "server", "worker"):
            made.produce(orders(ids + 1500)[ids:])
            ids += 1500
            until_entries_come(daemon, server, made.sink, ids - 1400)
            if victim == "server":
                server.kill()
                server.start()
            else:
                os.kill(daemon.workers()[0], signal.SIGKILL)
        daemon.until(lambda _: made.lag() == 0)
        assert daemon.stop() == 0, daemon.said()
    entries = server.client().xrange(made.sink)
    assert sorted(json.loads(entry[b"value"])["id"] for _, entry in entries) == list(range(ids))
