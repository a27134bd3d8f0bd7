"""The sink on a real server that speaks S3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kafka_etl.contracts import Conflict, Move, Unreachable
from kafka_etl.errors import SinkFailed
from kafka_etl_connectors.objects.bucket import Bucket
from kafka_etl_connectors.objects.formats import Lines
from kafka_etl_connectors.objects.settings import BucketSettings
from tests.kit.seaweedfs import SeaweedFs
from tests.sinks.objects.system import OTHER, TP, World, table_form, take
from tests.sinks.objects.test_faults import fail_at, two_days
from tests.sinks.objects.test_formats import given
from tests.sinks.objects.test_plugin import SINK, deployment, lines

_folders = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[SeaweedFs]:
    server = SeaweedFs(tmp_path_factory.mktemp("weed") / "weed")
    try:
        server.start()
        server.make_bucket("lake")
        yield server
    finally:
        server.stop()


@pytest.fixture
def lake(server) -> World:
    return World(**server.settings(f"lake/w{next(_folders)}"))


def test_rows_are_written_and_read_back_by_manifests(lake):
    lake.place(TP, OTHER)
    store = lake.store()
    take(store, 0, 5, stamps=two_days)
    take(store, 0, 3, OTHER)
    assert store.roll(final=True) == {TP: 5, OTHER: 3}
    take(store, 5, 7, stamps=two_days)
    assert store.roll(final=True) == {TP: 7}
    assert sorted(lake.ids()) == [0, 0, 1, 1, 2, 2, 3, 4, 5, 6]
    assert lake.files()[0].startswith(f"{lake.url}/orders/dt=1970-01-01/orders-0-000000000000-")
    assert len(lake.data()) == 5
    assert lake.intents() == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 6))
def test_a_worker_dies_at_any_request(lake, number, when):
    lake.place()
    bucket = lake.bucket()
    bucket.error = lambda: Unreachable("dead")
    first = lake.store(bucket)
    take(first, 0, 4, stamps=two_days)
    fail_at(bucket, number, when)
    try:
        first.roll(final=True)
    except Unreachable:
        assert number < 5
    second = lake.store()
    take(second, second.offsets([TP])[TP].next, 6, stamps=two_days)
    second.roll(final=True)
    assert sorted(lake.ids()) == [0, 1, 2, 3, 4, 5]
    assert sorted(lake.data()) == sorted(p.removeprefix(f"{lake.url}/") for p in lake.files())


def test_of_many_owners_at_once_one_wins_each_link(lake):
    lake.place()
    won: list[int] = []

    def compete() -> None:
        store = lake.store()
        for _ in range(5):
            at = store.offsets([TP])[TP].next
            try:
                take(store, at, at + 2)
                store.roll(final=True)
                won.append(at)
            except Conflict:
                store.discard([TP])

    threads = [threading.Thread(target=compete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(won)) == len(won)
    assert lake.ids() == list(range(2 * len(won)))


def test_the_newest_of_many_links_is_found_by_one_page(lake):
    lake.place()
    store = lake.store()
    for at in range(60):
        take(store, at, at + 1)
        store.roll(final=True)
    assert lake.store().offsets([TP])[TP].next == 60


def test_a_file_of_several_parts(lake):
    lake.place()
    store = lake.store(form=Lines("jsonl", "none", None), bytes="1GiB")
    line = b'{"id":7,"text":"' + b"x" * 999_984 + b'"}'
    for at in range(0, 40, 10):
        take(store, at, at + 10, values=[line] * 10)
    store.roll(final=True)
    (path,) = lake.files()
    assert sum(1 for _ in lake.rows(path)) == 40


def test_parquet_is_read_back(lake):
    lake.place()
    store = lake.store(form=table_form(id="int64", name="text"))
    store.commit(given([(1, "a"), (2, None)]), {TP: Move(0, 2)}, [])
    store.roll(final=True)
    (path,) = lake.data()
    content = lake.bucket().get(path)
    assert pq.read_table(pa.BufferReader(content)).to_pylist() == [
        {"id": 1, "name": "a"},
        {"id": 2, "name": None},
    ]


def test_the_check_accepts_the_server_and_leaves_nothing(lake):
    found = SINK.check(lines(url=lake.url, **lake.access), deployment())
    assert found.notes == ()
    assert lake.bucket().paths("") == []


@pytest.mark.parametrize(
    ("key", "secret", "said"),
    [
        ("nobody", "x", "InvalidAccessKeyId"),
        ("test-key", "wrong", "SignatureDoesNotMatch"),
        ("reader", "test-secret", "AccessDenied"),
    ],
)
def test_refused_accounts_stop_at_the_check_and_wait_for_a_user_later(server, key, secret, said):
    access = server.settings("lake/refused", key, secret)
    with pytest.raises(SinkFailed, match=said) as failed:
        SINK.check(lines(**access), deployment())
    assert "credentials" in failed.value.next_step
    assert "test-secret" not in str(failed.value)
    with pytest.raises(Unreachable) as away:
        Bucket(BucketSettings.model_validate(access), Path()).put("x", b"")
    assert away.value.mend


def test_a_bucket_that_is_not_there_needs_a_user(server):
    access = server.settings("no-such-bucket/x", "writer", "test-secret")
    with pytest.raises(Unreachable) as missing:
        Bucket(BucketSettings.model_validate(access), Path()).create("x", b"")
    assert missing.value.mend


def test_a_server_that_was_killed_in_a_roll_comes_back(server, lake):
    lake.place()
    bucket = lake.bucket()
    store = lake.store(bucket)
    take(store, 0, 4, stamps=two_days)
    fail_at(bucket, 3, "before")
    bucket.error = lambda: Unreachable("cut")
    with pytest.raises(Unreachable):
        store.roll(final=True)
    bucket.fail = lambda _name, _path: None
    server.kill()
    with pytest.raises(Unreachable) as away:
        store.roll(final=True)
    assert not away.value.mend
    found = SINK.check(lines(url=lake.url, **lake.access), deployment())
    assert "cannot be reached now" in found.notes[0]
    take(store, 4, 6, stamps=two_days)
    server.start()
    assert store.roll(final=True) == {TP: 6}
    assert sorted(lake.ids()) == [0, 1, 2, 3, 4, 5]
    assert len(lake.data()) == 4
