"""The suite that every source must pass."""
# ruff: noqa: S101, PLR2004 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic, sleep
from typing import Final, Protocol, Self

from kafka_etl.contracts import Arrival, Source
from kafka_etl.record import (
    Batch,
    Headers,
    Offsets,
    Partition,
    SourceRecord,
    offset_of,
    partition_of,
)

_PATIENCE: Final = 30.0
"""Seconds that a test waits for a real system, which needs time for a rebalance, for example."""

Content = tuple[Partition, int, bytes | None, bytes | None]
"""Partition, offset, key and value."""


class SourceSystem(Protocol):
    """The suite's access to the source under test.

    The system owns a topic with two partitions that no other test writes to, and one group that
    reads the topic.
    """

    @property
    def topic(self) -> str: ...

    def append(
        self,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Append a record to a partition of the topic."""
        ...

    def leave_gap(self, partition: int) -> None:
        """Use up offsets without a readable record, by a marker or an aborted transaction."""
        ...

    def end(self, partition: int) -> int:
        """Return the offset after the partition's last record or gap."""
        ...

    def source(self, member: int = 0) -> Source:
        """Return a new source in the group.

        The suite closes a source before it asks for another one of the same `member`.
        """
        ...

    def commit(self, source: Source, progress: Offsets, notes: Mapping[Partition, str]) -> None:
        """Commit offsets and notes for the group, as a sink does, without a call to the source."""
        ...


class SourceContract:
    """A source hands out batches, and keeps each partition's offset up to which all is settled.

    The caller may poll for the next batch before the last one is settled: see
    `test_what_was_given_away_does_not_come_again_though_it_is_not_settled`.
    """

    def test_records_come_unchanged_and_in_order(self, system: SourceSystem) -> None:
        headers: Headers = [("a", b"1"), ("a", None), ("b", b"\xff")]
        system.append(0, b"first", b"key", headers)
        system.append(0, b"")
        system.append(0, None, b"deleted")
        with Reader(system) as reader:
            records = reader.read_all()
        assert [(r.key(), r.value()) for r in records] == [
            (b"key", b"first"),
            (None, b""),
            (b"deleted", None),
        ]
        assert [r.headers() or [] for r in records] == [headers, [], []]
        assert [offset_of(r) for r in records] == [0, 1, 2]

    def test_no_batch_is_larger_than_asked_for(self, system: SourceSystem) -> None:
        fill(system, 5)
        with Reader(system) as reader:
            batches = list(reader.batches(limit=3, records=10))
        assert all(len(batch) <= 3 for batch in batches)
        assert sum(map(len, batches)) == 10

    def test_a_batch_begins_where_the_last_one_was_settled(self, system: SourceSystem) -> None:
        fill(system, 5)
        with Reader(system) as reader:
            at: dict[Partition, int] = {}
            for batch in reader.batches(limit=3, records=10):
                for record in batch.records:
                    assert batch.begins[partition_of(record)] <= offset_of(record)
                    assert batch.progress[partition_of(record)] > offset_of(record)
                assert all(batch.begins[tp] == at.get(tp, 0) for tp in batch.progress)
                at.update(batch.progress)

    def test_after_a_rewind_the_same_records_come_again(self, system: SourceSystem) -> None:
        fill(system, 3)
        with Reader(system) as reader:
            first = contents(reader.poll().records)
            reader.source.rewind()
            again = contents(reader.read_all())
            assert set(first) <= set(again)
            assert len(again) == 6

    def test_what_is_settled_stays_settled_through_a_rewind(self, system: SourceSystem) -> None:
        fill(system, 3)
        with Reader(system) as reader:
            first = reader.poll(limit=2)
            reader.settle(first)
            reader.poll()
            reader.source.rewind()
            rest = contents(reader.read_all())
            assert not set(contents(first.records)) & set(rest)
            assert len(first) + len(rest) == 6

    def test_after_a_reload_the_committed_offsets_are_the_truth(self, system: SourceSystem) -> None:
        fill(system, 3)
        with Reader(system) as reader:
            happened = reader.poll(limit=2)
            system.commit(reader.source, happened.progress, {})
            reader.source.reload()
            did_not_happen = reader.poll(limit=2)
            assert not set(contents(happened.records)) & set(contents(did_not_happen.records))
            reader.source.reload()
            assert len(reader.read_all()) == 6 - len(happened)

    def test_reading_commits_nothing(self, system: SourceSystem) -> None:
        fill(system, 2)
        with Reader(system) as reader:
            reader.poll()
        with Reader(system) as reader:
            assert len(reader.read_all()) == 4

    def test_the_next_member_begins_where_the_group_stands(self, system: SourceSystem) -> None:
        fill(system, 3)
        first = Partition(system.topic, 0)
        with Reader(system) as reader:
            reader.join()
            system.commit(reader.source, {first: 2}, {first: "a note"})
        with Reader(system) as reader:
            reader.join()
            assert reader.arrived[first] == Arrival(2, "a note")
            assert reader.arrived[Partition(system.topic, 1)] == Arrival(0, "")
            assert len(reader.read_all()) == 4

    def test_arrivals_are_told_once(self, system: SourceSystem) -> None:
        with Reader(system) as reader:
            reader.join()
            assert set(reader.arrived) == {Partition(system.topic, n) for n in (0, 1)}
            assert reader.source.arrivals() == {}
            assert reader.source.departures() == frozenset()

    def test_serving_fetches_nothing(self, system: SourceSystem) -> None:
        fill(system, 3)
        with Reader(system) as reader:
            reader.join()
            for _ in range(5):
                reader.source.serve()
            assert reader.source.lease is not None
            assert len(reader.read_all()) == 6

    def test_serving_between_poll_and_rewind_loses_nothing(self, system: SourceSystem) -> None:
        fill(system, 3)
        with Reader(system) as reader:
            reader.poll()
            reader.source.serve()
            reader.source.rewind()
            assert len(reader.read_all()) == 6

    def test_what_was_given_away_does_not_come_again_though_it_is_not_settled(
        self, system: SourceSystem
    ) -> None:
        """The commit of a batch may still be under way while the engine polls for the next one."""
        fill(system, 3)
        with Reader(system) as reader:
            given = [reader.poll(2)]
            while sum(map(len, given)) < 6:
                reader.source.serve()
                given.append(reader.poll(2))
            places = [(partition_of(r), r.offset()) for batch in given for r in batch.records]
            assert len(places) == len(set(places)) == 6

    def test_offsets_without_records_are_progress(self, system: SourceSystem) -> None:
        system.append(0, b"a record")
        system.leave_gap(0)
        ends = {Partition(system.topic, 0): system.end(0)}
        with Reader(system) as reader:
            assert not reader.source.finished(ends)
            for batch in reader.until(lambda: reader.source.finished(ends)):
                reader.settle(batch)

    def test_positions_tell_how_far_it_is(self, system: SourceSystem) -> None:
        fill(system, 3)
        with Reader(system) as reader:
            reader.read_all()
            found = reader.source.positions()
        assert set(found) == {Partition(system.topic, n) for n in (0, 1)}
        assert all(position.next == position.end == 3 for position in found.values())

    def test_another_member_takes_over_what_one_gives_up(self, system: SourceSystem) -> None:
        """Together the two members have all partitions, and no partition has both of them."""
        fill(system, 3)
        with Reader(system) as one:
            one.join()
            before = set(one.arrived)
            with Reader(system, member=1) as other:
                other.share_with(one)
                left = before - set(one.arrived)
                assert left == set(other.arrived) != set()
                assert {partition_of(r) for r in one.read_all(partitions=1)} == set(one.arrived)
                assert {partition_of(r) for r in other.read_all(partitions=1)} == left

    def test_closing_twice_is_harmless(self, system: SourceSystem) -> None:
        with Reader(system) as reader:
            reader.join()
            reader.source.close()


class Reader:
    """Calls a source as the engine does; closes the source at the end of the `with` block.

    Attributes:
        arrived: Partitions that the source has now, with the offset and note each began with.
        source: Source under test.
    """

    def __init__(self, system: SourceSystem, member: int = 0) -> None:
        self.arrived: dict[Partition, Arrival] = {}
        self.source: Source = system.source(member)
        self._system = system

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def poll(self, limit: int = 100) -> Batch:
        """Return the next batch, not settled."""
        return next(self.until(lambda: False, limit))

    def batches(self, limit: int, records: int) -> Iterator[Batch]:
        """Yield batches until this number of records has come; settle each batch afterwards.

        Args:
            limit: Largest number of records in a batch.
            records: Number of records in all.
        """
        while records > 0:
            batch = self.poll(limit)
            yield batch
            self.settle(batch)
            records -= len(batch)

    def until(self, done: Callable[[], bool], limit: int = 100) -> Iterator[Batch]:
        """Poll, and yield each batch, until `done` returns true; fail after 30 seconds."""
        deadline = monotonic() + _PATIENCE
        while not done():
            assert monotonic() < deadline, "this should have come about by now"
            batch = self.source.poll(limit)
            self.note_changes()
            if batch is not None:
                yield batch

    def settle(self, batch: Batch) -> None:
        """Commit the batch's offsets, and tell the source."""
        self._system.commit(self.source, batch.progress, {})
        self.source.advance(batch.progress)
        self.source.settle(batch.progress)

    def read_all(self, partitions: int = 2) -> list[SourceRecord]:
        """Read and settle all records up to the ends; return them by partition and offset.

        Args:
            partitions: Number of partitions that the source has.
        """
        records: list[SourceRecord] = []
        for batch in self.until(lambda: self._is_at_end(partitions)):
            records += batch.records
            self.settle(batch)
        return sorted(records, key=lambda r: (partition_of(r), offset_of(r)))

    def join(self) -> None:
        """Serve the source until it is a member with both partitions."""
        self._serve_until(lambda: len(self.arrived) == 2 and self.source.lease is not None)

    def share_with(self, other: Reader) -> None:
        """Serve both sources until each has one partition."""
        self._serve_until(lambda: len(self.arrived) == len(other.arrived) == 1, other)

    def note_changes(self) -> None:
        """Update `arrived` with the partitions that left and arrived since the last call."""
        for tp in self.source.departures():
            self.arrived.pop(tp, None)
        self.arrived.update(self.source.arrivals())

    def _serve_until(self, done: Callable[[], bool], *others: Reader) -> None:
        deadline = monotonic() + _PATIENCE
        while not done():
            assert monotonic() < deadline, "this should have come about by now"
            for reader in (self, *others):
                reader.source.serve()
                reader.note_changes()
            sleep(0.001)

    def _is_at_end(self, partitions: int) -> bool:
        found = self.source.positions()
        return len(found) == partitions and all(
            position.next >= self._system.end(tp.number) for tp, position in found.items()
        )


def fill(system: SourceSystem, records: int) -> None:
    """Append this number of records to each of the two partitions."""
    for number in range(records):
        for partition in (0, 1):
            system.append(partition, b"%d" % number)


def contents(records: Iterable[SourceRecord]) -> list[Content]:
    """Return partition, offset, key and value of each record, for comparisons."""
    return [(partition_of(r), offset_of(r), r.key(), r.value()) for r in records]
