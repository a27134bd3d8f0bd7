from __future__ import annotations

import pytest

from kafka_etl.record import (
    Batch,
    Partition,
    Record,
    last_records,
    next_offsets,
)
from kafka_etl.testing import StoredRecord

A, B, OTHER = Partition("a", 0), Partition("a", 1), Partition("b", 0)


def stored(partition: Partition, offset: int) -> StoredRecord:
    return StoredRecord(b"", topic=partition.topic, partition=partition.number, offset=offset)


def view() -> Record:
    source = StoredRecord(
        b"raw", b"key", [("h", b"1"), ("h", b"2")], timestamp_ms=5, partition=3, offset=9
    )
    return Record.of(source, {"n": 1})


def test_a_partition_reads_like_one() -> None:
    assert str(Partition("orders", 3)) == "orders[3]"


def test_a_view_shows_its_source() -> None:
    record = view()
    assert (record.value, record.key, record.timestamp) == ({"n": 1}, b"key", 5)
    assert record.headers == [("h", b"1"), ("h", b"2")]
    assert (record.topic, record.partition, record.offset) == ("in", 3, 9)
    assert record.destination is None
    assert not record.stamped


def test_the_last_of_equal_headers_counts() -> None:
    assert view().header("h") == b"2"
    assert view().header("none") is None


def test_replace_changes_what_it_names_and_leaves_the_original() -> None:
    record = view()
    changed = record.replace(key=b"new", timestamp=7)
    assert (changed.key, changed.timestamp, changed.value) == (b"new", 7, {"n": 1})
    assert changed.headers == record.headers
    assert (record.key, record.timestamp) == (b"key", 5)


def test_changes_add_up_and_the_last_counts() -> None:
    changed = view().replace(key=b"1").to("t").replace(key=b"2", headers=[]).replace(value=3)
    assert (changed.key, changed.timestamp, changed.stamped) == (b"2", 5, False)
    assert (changed.value, changed.headers, changed.destination) == (3, [], "t")
    assert changed.to("u").destination == "u"


def test_none_can_be_set() -> None:
    changed = view().replace(key=None, value=None)
    assert (changed.key, changed.value) == (None, None)


def test_a_tombstone_keeps_all_but_the_value() -> None:
    gone = view().replace(headers=[("x", None)]).tombstone()
    assert (gone.value, gone.key, gone.headers) == (None, b"key", [("x", None)])


def test_a_record_of_ones_own_is_completed_by_the_one_it_came_from() -> None:
    base = view().replace(headers=[("base", b"1")])
    record = Record(5, timestamp=8).to("t").onto(base)
    assert (record.value, record.key, record.timestamp) == (5, b"key", 8)
    assert (record.headers, record.destination) == ([("base", b"1")], "t")
    assert record.source is base.source


def test_a_record_with_a_source_is_complete() -> None:
    record = view()
    assert record.onto(Record(1)) is record


def test_it_says_where_it_comes_from() -> None:
    assert repr(view()) == "<Record {'n': 1} from in[3]@9>"
    assert repr(Record(1)) == "<Record 1>"


def test_a_source_record_may_be_false() -> None:
    """The length of the client's own is that of its value: a tombstone is false."""

    class Falsy(StoredRecord):
        def __len__(self) -> int:
            return 0

    record = Record.of(Falsy(None, b"key", offset=4), None)
    assert (record.key, record.offset) == (b"key", 4)
    assert repr(record) == "<Record None from in[0]@4>"


# Batches


def test_the_last_record_of_each_partition() -> None:
    records = [stored(A, 5), stored(B, 2), stored(A, 9), stored(B, 3)]
    assert last_records(records) == {A: records[2], B: records[3]}
    records.append(stored(OTHER, 0))
    assert next_offsets(records) == {A: 10, B: 4, OTHER: 1}
    assert next_offsets([]) == {}


def batch() -> Batch:
    records = [stored(A, 5), stored(B, 2), stored(A, 6), stored(A, 7)]
    return Batch(records, {A: 9, B: 3, OTHER: 4}, {A: 5, B: 2, OTHER: 1})


def test_a_batch_is_split_without_losing_progress() -> None:
    whole = batch()
    front, rest = whole.split(3)
    assert (len(front), len(rest)) == (3, 1)
    assert front.progress == {A: 7, B: 3}
    assert front.begins == whole.begins
    assert rest.progress == whole.progress
    assert rest.begins == {A: 7, B: 3, OTHER: 1}


@pytest.mark.parametrize("size", [4, 5, 1000])
def test_a_split_that_takes_all_leaves_nothing(size: int) -> None:
    whole = batch()
    front, rest = whole.split(size)
    assert front is whole
    assert (len(rest), rest.progress) == (0, {})


def test_the_end_of_a_partition_is_a_batch_without_records() -> None:
    end = Batch((), {A: 9}, {A: 5})
    assert end.split(1)[0] is end


def test_a_batch_without_some_partitions() -> None:
    rest = batch().without(frozenset({A}))
    assert [record.offset() for record in rest.records] == [2]
    assert rest.progress == {B: 3, OTHER: 4}
    assert rest.begins == {B: 2, OTHER: 1}
