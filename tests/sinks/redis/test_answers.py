"""Answers of a real server, and what they mean: nothing is a row's fault, some is to be mended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from kafka_etl.contracts import Conflict, Move, RefusedRows, StoredOffset, Unreachable
from kafka_etl.record import Partition
from kafka_etl.testing import deployment, rows
from kafka_etl_connectors.redis import SINK
from tests.kit.valkey import Valkey, running

P0 = Partition("in", 0)
DEPLOYMENT = deployment(group="g")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, to break."""
    with running(tmp_path) as started:
        yield started


def store_of(server: Valkey, into: str = "stream", **more: Any) -> Any:
    place = {"prefix": "order:"} if into == "string" else {"name": "orders"}
    given = {**server.address, "into": into, **place, **more}
    return SINK.build(SINK.settings.model_validate(given), DEPLOYMENT)


def opened(server: Valkey, into: str = "stream", **more: Any) -> Any:
    store = store_of(server, into, **more)
    store.connect()
    store.place({P0: StoredOffset(0)}, overwrite=False)
    return store


def failure(store: Any) -> Unreachable:
    with pytest.raises(Unreachable) as away:
        store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    return away.value


def test_a_replica_is_to_be_mended(server: Valkey) -> None:
    store = opened(server)
    server.client().replicaof("127.0.0.1", 1)
    said = failure(store)
    assert said.mend
    assert "READONLY" in said.reason
    server.client().replicaof("NO", "ONE")
    store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    store.close()


@pytest.mark.parametrize("denied", ["-xadd", "-evalsha", "-hget", "-type"])
def test_a_missing_right_is_to_be_mended_and_writes_nothing(server: Valkey, denied: str) -> None:
    opened(server).close()
    server.client().execute_command(
        "ACL", "SETUSER", "etl", "on", ">s3cret", "~*", "&*", "+@all", denied
    )
    store = store_of(server, username="etl")
    store.connect()
    said = failure(store)
    store.close()
    assert said.mend, said.reason
    assert not server.client().exists("orders")


def test_a_user_who_may_not_read_the_configuration_can_write(server: Valkey) -> None:
    server.client().execute_command(
        "ACL", "SETUSER", "etl", "on", ">s3cret", "~*", "&*", "+@all", "-config", "-info"
    )
    store = opened(server, username="etl")
    store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    notes = SINK.check(store._settings, DEPLOYMENT).notes
    store.close()
    assert any("maxmemory-policy" in note for note in notes)


def test_a_missing_password_is_to_be_mended(server: Valkey) -> None:
    with pytest.raises(Unreachable) as away:
        store_of(server, password=None).connect()
    assert away.value.mend
    assert "NOAUTH" in away.value.reason


def test_a_server_that_runs_a_strangers_script_is_waited_for(server: Valkey) -> None:
    store = opened(server)
    server.client().config_set("busy-reply-threshold", 1)
    endless = threading.Thread(target=_ends_in_an_error, args=[server])
    endless.start()
    time.sleep(0.3)
    said = failure(store)
    server.client().script_kill()
    endless.join()
    assert not said.mend, said.reason
    assert "BUSY" in said.reason
    store.close()


def _ends_in_an_error(server: Valkey) -> None:
    with suppress(redis.RedisError):  # the script is killed
        server.client().eval("while true do end", 0)


def test_a_server_that_hangs_is_away_after_the_timeout(server: Valkey) -> None:
    store = opened(server, timeout="200ms")
    with stopped(server):
        assert not failure(store).mend
    store.close()


def test_interrupt_ends_a_call_that_hangs(server: Valkey) -> None:
    store = opened(server, timeout="60s")
    timer = threading.Timer(0.3, store.interrupt)
    began = time.monotonic()
    with stopped(server):
        timer.start()
        assert not failure(store).mend
    assert time.monotonic() - began < 20
    timer.join()
    store.close()
    store.connect()
    assert set(store.offsets([P0])) == {P0}
    store.close()


class stopped:  # noqa: N801 - reads as a statement
    """The server's process stands still within the block."""

    def __init__(self, server: Valkey) -> None:
        assert server._process is not None
        self._pid = server._process.pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGCONT)


def test_values_and_keys_that_the_server_does_not_take_are_refused(server: Valkey) -> None:
    server.client().config_set("proto-max-bulk-len", 1024 * 1024)
    large = b"x" * (1024 * 1024 + 1)
    store = opened(server, "string")
    wanted = rows(b"1", large, None, keys=[b"a", b"b", large])
    with pytest.raises(RefusedRows) as refused:
        store.commit(wanted, {P0: Move(0, 3)}, ())
    assert {at: verdict.code for at, verdict in refused.value.rows.items()} == {
        1: "TooLarge",
        2: "TooLarge",
    }
    store.commit(wanted.take([0]), {P0: Move(0, 3)}, ())
    store.close()


def test_a_record_names_its_own_key_but_none_of_offsets_or_of_another_type(server: Valkey) -> None:
    store = opened(server)
    client = server.client()
    client.set("text", "no stream")
    for named, code in (("kafka-etl:{orders}:g", "ReservedKey"), ("text", "WRONGTYPE")):
        wanted = rows(b"0", b"1", b"2", destinations=[None, "other", named])
        with pytest.raises(RefusedRows) as refused:
            store.commit(wanted, {P0: Move(0, 3)}, ())
        assert {at: verdict.code for at, verdict in refused.value.rows.items()} == {2: code}
    assert not client.exists("orders", "other")
    store.commit(wanted.take([0, 1]), {P0: Move(0, 3)}, ())
    assert (client.xlen("orders"), client.xlen("other")) == (1, 1)
    store.close()


def test_a_partition_that_moves_between_two_parts_is_a_conflict(server: Valkey) -> None:
    store = opened(server)
    run = store._run

    def overtaken(part: Any, keys: Any) -> Any:
        answer = run(part, keys)
        store.place({P0: StoredOffset(5000)}, overwrite=True)
        return answer

    store._run = overtaken
    with pytest.raises(Conflict) as conflict:
        store.commit(rows(*[b"1"] * 1500), {P0: Move(0, 1500)}, ())
    assert conflict.value.partitions == {P0}
    assert server.client().xlen("orders") == 1000
    store.close()


@pytest.mark.parametrize("answer", [[b"taken"], [], None, b"done", [b"done", b"1"], [b"moved"]])
def test_an_answer_that_the_script_does_not_give_acknowledges_and_condemns_nothing(
    answer: Any,
) -> None:
    given = {"host": "nowhere", "into": "stream", "name": "orders"}
    store: Any = SINK.build(SINK.settings.model_validate(given), DEPLOYMENT)
    store._client, store._script = object(), lambda **_: answer
    said = failure(store)
    assert said.mend
    assert f"Redis at nowhere:6379: the script answered {answer!r}" in said.reason


def test_a_stream_keeps_about_as_many_entries_as_maxlen(server: Valkey) -> None:
    store = opened(server, maxlen=100)
    store.commit(rows(*[b"1"] * 2500), {P0: Move(0, 2500)}, ())
    assert 100 <= server.client().xlen("orders") < 300
    store.close()
