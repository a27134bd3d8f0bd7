"""The target in memory fails in the ways that a test asks for."""

from __future__ import annotations

from threading import Thread

import pytest

from kafka_etl.contracts import TAKEN, Again, Conflict, Move, RowOrder, StoredOffset, Unreachable
from kafka_etl.record import Partition
from kafka_etl.testing import (
    Lost,
    MemoryRollingStore,
    MemoryStore,
    MemoryTarget,
    MemoryWriter,
    rows,
)

PLACE = Partition("in", 0)


def opened(target: MemoryTarget) -> MemoryStore:
    store = MemoryStore(target)
    store.connect()
    store.place({PLACE: StoredOffset(0)}, overwrite=False)
    return store


def test_a_lost_answer_leaves_nothing_or_everything():
    target = MemoryTarget()
    store = opened(target)
    target.lost.extend([Lost.BEFORE, Lost.AFTER])
    with pytest.raises(ConnectionError):
        store.commit(rows(b"1"), {PLACE: Move(0, 1)}, ())
    assert (target.values, target.offsets[PLACE].next) == ([], 0)
    with pytest.raises(ConnectionError):
        store.commit(rows(b"1"), {PLACE: Move(0, 1)}, ())
    assert (target.values, target.offsets[PLACE].next) == ([b"1"], 1)


def test_a_rival_moves_one_partition_of_two():
    target = MemoryTarget()
    store = opened(target)
    other = Partition("in", 1)
    store.place({other: StoredOffset(0)}, overwrite=False)
    target.rivals.append({other: StoredOffset(5)})
    with pytest.raises(Conflict) as conflict:
        store.commit(rows(b"1"), {PLACE: Move(0, 1), other: Move(0, 1)}, ())
    assert conflict.value.partitions == {other}
    assert target.values == []


def test_a_target_is_away_as_often_as_told():
    target = MemoryTarget()
    target.away = 2
    store = MemoryStore(target)
    for _ in range(2):
        with pytest.raises(Unreachable):
            store.connect()
    store.connect()
    assert target.connects == 1


def test_a_torn_roll_leaves_orphans_and_the_next_one_is_whole():
    target = MemoryTarget()
    opened(target)
    store = MemoryRollingStore(target)
    store.connect()
    store.commit(rows(b"1", b"2"), {PLACE: Move(0, 2)}, ())
    target.torn = 1
    with pytest.raises(Unreachable):
        store.roll(final=True)
    assert (target.values, [row.value for row in target.orphans]) == ([], [b"1"])
    assert store.roll(final=True) == {PLACE: 2}
    assert target.values == [b"1", b"2"]


def test_a_roll_is_due_after_its_time():
    opened(target := MemoryTarget())
    for every, is_due in ((0.0, True), (600.0, False)):
        store = MemoryRollingStore(target, every=every)
        store.connect()
        store.commit(rows(b"1"), {PLACE: Move(0, 1)}, ())
        assert store.due(final=False) is is_due


def test_an_interrupted_call_ends_early():
    target = MemoryTarget()
    store = opened(target)
    target.delay = 30
    caught: list[Exception] = []

    def commit():
        try:
            store.commit(rows(b"1"), {PLACE: Move(0, 1)}, ())
        except Unreachable as error:
            caught.append(error)

    thread = Thread(target=commit)
    thread.start()
    store.interrupt()
    thread.join(10)
    assert len(caught) == 1
    assert target.values == []


def test_an_exception_for_a_value_is_raised_by_every_call_with_that_value():
    target = MemoryTarget()
    target.fails = lambda value: OSError("poison") if value == b"poison" else None
    writer = MemoryWriter(target, repeatable=True)
    writer.connect()
    with pytest.raises(OSError, match="poison"):
        writer.write(rows(b"1", b"poison"))
    assert writer.write(rows(b"1")) is TAKEN


def test_a_writer_that_keeps_the_order_of_a_set_holds_later_rows_of_a_key():
    target = MemoryTarget()
    again = Again("busy")
    target.verdict = lambda value: again if value == b"1" else None
    writer = MemoryWriter(target, order=RowOrder.SET)
    writer.connect()
    answer = writer.write(rows(b"1", b"2", b"3", keys=[b"a", b"a", b"b"]))
    assert answer == {0: again, 1: again}
    assert target.values == [b"3"]
