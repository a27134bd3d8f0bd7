"""What is kept of the inbox, and what is read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from kafka_etl.engine.tasks import kept as module
from kafka_etl.engine.tasks.kept import Kept
from kafka_etl.record import Partition, SourceRecord
from kafka_etl.testing import StoredRecord

TP = Partition("shop.inbox", 0)


class Inbox:
    """Ten records of ten bytes."""

    def __init__(self) -> None:
        self.read: list[tuple[int, int]] = []

    def __call__(self, tp: Partition, begin: int, end: int) -> Iterable[SourceRecord]:
        self.read.append((begin, end))
        return [StoredRecord(b"%010d" % at, offset=at) for at in range(begin, min(end, 10))]


def made(inbox: Inbox) -> Kept[bytes]:
    return Kept(inbox, lambda record: record.value())


def test_what_is_kept_is_not_read() -> None:
    inbox = Inbox()
    kept = made(inbox)
    kept.keep(TP, 3, b"mine", 4)
    assert kept.get(TP, 3) == b"mine"
    assert inbox.read == []
    kept.drop(TP, 3)
    assert kept.get(TP, 3) == b"0000000003"
    assert kept.get(TP, 9) == b"0000000009"  # read together with it
    assert len(inbox.read) == 1


def test_what_is_wanted_is_there_however_large_those_behind_it_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 25)
    inbox = Inbox()
    kept = made(inbox)
    assert kept.get(TP, 2) == b"0000000002"
    assert kept.get(TP, 9) == b"0000000009"
    assert len(inbox.read) == 1


def test_the_same_record_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 25)
    inbox = Inbox()
    kept = made(inbox)
    kept.keep(TP, 1, b"first", 10)
    for _ in range(5):
        kept.keep(TP, 2, b"again", 10)
    assert kept.get(TP, 1) == b"first"
    assert inbox.read == []


def test_nothing_is_left_of_a_partition_that_has_left() -> None:
    inbox = Inbox()
    kept = made(inbox)
    kept.keep(TP, 1, b"first", 10)
    kept.forget(TP)
    assert kept.get(TP, 1) == b"0000000001"


@pytest.mark.parametrize("at", [-1, 10])
def test_where_there_is_no_record_there_is_nothing(at: int) -> None:
    assert made(Inbox()).get(TP, at) is None


def test_what_is_large_is_read_once_and_not_again_for_each_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 40)
    monkeypatch.setattr(module, "_AHEAD_BYTES", 20)
    read: list[int] = []

    def inbox(_tp: Partition, begin: int, end: int) -> Iterator[SourceRecord]:
        for at in range(begin, min(end, 10)):
            read.append(at)
            yield StoredRecord(b"%010d" % at, offset=at)

    kept: Kept[bytes] = Kept(inbox, lambda record: record.value())
    for at in range(10):
        assert kept.get(TP, at) == b"%010d" % at
        kept.drop(TP, at)
    assert read == list(range(10))
