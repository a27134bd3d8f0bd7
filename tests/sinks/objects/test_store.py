from __future__ import annotations

import pytest

from kafka_etl.contracts import Conflict, Move, RefusedRows, Rows, StoredOffset, Unreachable
from kafka_etl.invocation import Outputs
from kafka_etl.record import Partition
from tests.sinks.objects.system import DAY, OTHER, TP, nothing, record, rows, take


def test_an_unknown_partition_has_no_offset_until_it_is_placed(world):
    store = world.store()
    assert store.offsets([TP]) == {}
    store.place({TP: StoredOffset(7, 2, "id", "group")}, overwrite=False)
    assert store.offsets([TP, OTHER]) == {TP: StoredOffset(7, 2, "id", "group")}


def test_a_place_that_is_taken_is_kept_or_replaced(world):
    store = world.store()
    store.place({TP: StoredOffset(7)}, overwrite=False)
    store.place({TP: StoredOffset(8), OTHER: StoredOffset(1)}, overwrite=False)
    assert store.offsets([TP, OTHER]) == {TP: StoredOffset(7), OTHER: StoredOffset(1)}
    store.place({TP: StoredOffset(3, 1)}, overwrite=True)
    assert world.store().offsets([TP]) == {TP: StoredOffset(3, 1)}
    store.place({TP: StoredOffset(2, 1)}, overwrite=True)
    assert store.offsets([TP]) == {TP: StoredOffset(2, 1)}


def test_rows_are_taken_and_become_durable_when_the_file_is_old(world):
    world.place()
    store = world.store()
    take(store, 0, 3)
    world.now = 299
    assert not store.due(final=False)
    assert store.roll(final=False) == {}
    take(store, 3, 5)
    assert world.files() == []
    world.now = 300
    assert store.due(final=False)
    assert store.roll(final=False) == {TP: 5}
    assert world.ids() == [0, 1, 2, 3, 4]
    assert not store.due(final=True)
    assert world.store().offsets([TP])[TP] == StoredOffset(5, 0, "id", "app")


def test_a_full_file_is_closed_before_its_time(world):
    world.place()
    store = world.store(bytes="1KiB")
    take(store, 0, 20)
    assert not store.due(final=False)
    take(store, 20, 200)
    assert store.roll(final=False) == {TP: 200}


def test_progress_without_rows_becomes_durable_by_a_manifest_alone(world):
    world.place()
    store = world.store()
    store.commit(nothing(), {TP: Move(0, 100)}, [])
    world.now = 301
    assert store.roll(final=False) == {TP: 100}
    assert world.data() == []
    assert world.intents() == []
    assert world.store().offsets([TP])[TP].next == 100


def test_a_move_by_nothing_leaves_nothing_open(world):
    world.place()
    store = world.store()
    store.commit(nothing(), {TP: Move(0, 0)}, [])
    assert not store.due(final=True)


def test_a_settlement_must_begin_where_the_open_rows_end(world):
    world.place(TP, OTHER)
    store = world.store()
    take(store, 0, 3)
    with pytest.raises(Conflict) as failed:
        store.commit(rows(0, 2, OTHER), {OTHER: Move(0, 2), TP: Move(2, 4)}, [])
    assert failed.value.partitions == {TP}
    assert store.offsets([TP])[TP].next == 0
    take(store, 0, 4)  # the open rows are thrown away, so that the durable offset fits again
    assert store.roll(final=True) == {TP: 4}
    assert world.ids() == [0, 1, 2, 3]


def test_another_generation_is_a_conflict(world):
    world.place()
    store = world.store()
    with pytest.raises(Conflict):
        store.commit(rows(0, 1), {TP: Move(0, 1, generation=1)}, [])


def test_a_partition_that_was_never_placed_is_a_conflict(world):
    with pytest.raises(Conflict):
        take(world.store(), 0, 1)


def test_a_reset_stops_a_worker_that_does_not_know_of_it(world):
    world.place()
    worker = world.store()
    take(worker, 0, 3)
    world.store().place({TP: StoredOffset(0, 1, "id", "app")}, overwrite=True)
    with pytest.raises(Conflict):
        worker.roll(final=True)
    assert world.files() == []
    assert world.data() == []


def test_a_file_for_each_day_and_one_manifest_for_all(world):
    world.place()
    store = world.store()
    take(store, 0, 4, stamps=lambda offset: DAY * (offset % 2))
    store.roll(final=True)
    days = [path.split("/")[-2] for path in world.files()]
    assert days == ["dt=1970-01-01", "dt=1970-01-02"]
    assert world.ids() == [0, 2, 1, 3]


def test_refused_rows_are_all_named_and_nothing_is_taken(world):
    world.place()
    store = world.store(path="{topic}/{to}/")
    values = [b"1", None, b"3\n", b"4", b"5"]
    names = ["a", "a", "a", "../up", None]
    with pytest.raises(RefusedRows) as refused:
        take(store, 0, 5, values=values, to=names.__getitem__)
    assert {at: verdict.code for at, verdict in refused.value.rows.items()} == {
        1: "Tombstone",
        2: "Newline",
        3: "BadDestination",
        4: "NoDestination",
    }
    assert not store.due(final=True)
    store.commit(rows(0, 1, values=[b'{"id":0}'], to=lambda _: "a/b"), {TP: Move(0, 5)}, [])
    assert store.roll(final=True) == {TP: 5}
    assert world.ids() == [0]


def test_partitions_are_closed_each_by_itself(world):
    world.place(TP, OTHER)
    store = world.store()
    both = Rows(
        Outputs(values=[b'{"id":1}', b'{"id":2}'], keys=[None, None]),
        [record(0, OTHER, DAY), record(0, TP, DAY)],
        str,
    )
    store.commit(both, {TP: Move(0, 1), OTHER: Move(0, 1)}, [])
    assert store.due(final=False, leaving=[OTHER])
    assert store.roll(final=False, leaving=[OTHER]) == {OTHER: 1}
    assert world.ids() == [1]
    assert store.roll(final=True) == {TP: 1}


def test_a_row_of_many_records_goes_with_the_first_partition(world):
    world.place(TP, OTHER)
    store = world.store(path="all/")
    shared = Rows(Outputs(values=[b'{"id":1}'], keys=[None]), [None], str)
    store.commit(shared, {OTHER: Move(0, 1), TP: Move(0, 1)}, [])
    store.roll(final=False, leaving=[TP])
    assert world.ids() == [1]


def test_the_largest_partition_is_closed_when_the_disk_is_full(world):
    world.place(TP, OTHER)
    store = world.store(disk="8KiB")
    take(store, 0, 300)
    take(store, 0, 500, OTHER)
    assert store.roll(final=False) == {OTHER: 500}
    assert not store.due(final=False)


def test_more_memory_than_allowed_goes_to_disk_and_nothing_is_lost(world):
    world.place(TP, OTHER)
    store = world.store(memory="10KiB")
    for begin in range(0, 3000, 100):
        take(store, begin, begin + 100)
        take(store, begin, begin + 100, OTHER)
        waiting = sum(file.memory for part in store._parts.values() for file in part.files)
        assert waiting <= 10 * 1024
    store.roll(final=True)
    assert world.ids() == 2 * list(range(3000))


def test_more_than_64_folders_close_the_partition(world):
    world.place()
    store = world.store(path="{to}/")
    take(store, 0, 65, to=str)
    assert store.roll(final=False) == {TP: 65}


def test_a_full_disk_costs_the_open_rows_and_no_record(world, monkeypatch, tmp_path):
    world.place()
    store = world.store(memory="1KiB")
    take(store, 0, 3)
    monkeypatch.setattr(
        "tempfile.TemporaryFile",
        lambda **_: open("/dev/full", "wb", buffering=0),  # noqa: PTH123, SIM115
    )
    with pytest.raises(Unreachable) as full:
        take(store, 3, 500)
    assert full.value.mend
    assert "No space" in full.value.reason
    monkeypatch.undo()
    assert store.offsets([TP])[TP].next == 0
    take(store, 0, 500)
    assert store.roll(final=True) == {TP: 500}
    assert world.ids() == list(range(500))


def test_a_thousand_idle_partitions_ask_nobody(world):
    partitions = [Partition("orders", number) for number in range(1000)]
    world.place(*partitions)
    bucket = world.bucket()
    store = world.store(bucket)
    assert len(store.offsets(partitions)) == 1000
    asked = len(bucket.calls)
    for _ in range(10):
        world.now += 1000
        assert not store.due(final=False)
        assert store.roll(final=False) == {}
    assert len(bucket.calls) == asked


def test_restarts_at_half_the_time_of_a_file_make_progress(world):
    world.place()
    for begin in range(0, 50, 10):
        store = world.store()
        at = store.offsets([TP])[TP].next
        assert at == begin
        take(store, at, at + 10)
        world.now += 150
        assert store.roll(final=True, leaving=[TP]) == {TP: at + 10}
    assert world.ids() == list(range(50))


def test_closing_and_connecting_again_keeps_open_files(world):
    world.place()
    store = world.store()
    take(store, 0, 3)
    store.close()
    with pytest.raises(Unreachable):
        store.roll(final=True)
    store.connect()
    assert store.roll(final=True) == {TP: 3}


def test_an_interrupted_roll_ends_and_goes_on_later(world):
    world.place()
    store = world.store()
    take(store, 0, 3)
    store.interrupt()
    with pytest.raises(Unreachable, match="interrupted"):
        store.roll(final=True)
    store.connect()
    assert store.roll(final=True) == {TP: 3}
    assert world.ids() == [0, 1, 2]


def test_partitions_whose_numbers_begin_alike_are_not_mixed(world):
    one, ten = Partition("orders", 1), Partition("orders", 10)
    store = world.store()
    store.place({one: StoredOffset(5), ten: StoredOffset(7)}, overwrite=False)
    take(store, 7, 9, ten)
    store.roll(final=True)
    assert {tp: at.next for tp, at in world.store().offsets([one, ten]).items()} == {one: 5, ten: 9}


def test_the_newest_of_a_thousand_links_is_found(world):
    world.place()
    store = world.store()
    for at in range(1001):
        store.commit(nothing(), {TP: Move(at, at + 1)}, [])
        store.roll(final=True)
    assert world.store().offsets([TP])[TP].next == 1001


def test_a_link_that_is_said_to_exist_and_is_not_there_is_asked_for_again(world, monkeypatch):
    world.place()
    bucket = world.bucket()
    store = world.store(bucket)
    take(store, 0, 2)
    monkeypatch.setattr(bucket, "create", lambda _path, _content: False)
    with pytest.raises(Unreachable, match="being written by another"):
        store.roll(final=True)
    monkeypatch.undo()
    assert store.roll(final=True) == {TP: 2}
    assert world.ids() == [0, 1]
