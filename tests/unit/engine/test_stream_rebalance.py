"""Partitions that come and go while a batch is in hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest

from kafka_etl import Retry, operator
from kafka_etl.contracts import Abandoned
from kafka_etl.invocation import Settlement, Tenure
from kafka_etl.record import Offsets, Partition
from kafka_etl.testing import MemoryBroker, MemorySink, MemorySource
from tests.unit.engine.kit import Bench


def make(deeds: dict[Any, int], **options: Any) -> Bench:
    """An operator that takes a second, and takes a partition away at certain values."""

    def op(value: Any) -> Any:
        bench.now += 1
        if value in deeds:
            bench.source.revoke(bench.partitions[deeds.pop(value)])
        return value

    bench = Bench(op, partitions=3, settle_after=1000, **options)
    return bench


def values(bench: Bench) -> list[Any]:
    return sorted(bench.outputs())


def fill(bench: Bench, count: int = 4) -> None:
    for number, name in enumerate("abc"):
        bench.put(*(f"{name}{i}" for i in range(count)), partition=number)


def all_of(names: Iterable[str], count: int = 4) -> list[str]:
    return sorted(f"{name}{i}" for name in names for i in range(count))


@pytest.mark.parametrize("slice_size", [1, 2, 5, 12])
@pytest.mark.parametrize("when", ["a0", "b1", "c1", "a3"])
def test_what_was_done_for_a_partition_that_left_is_left_to_its_next_owner(
    slice_size: int, when: str
) -> None:
    bench = make({when: 1}, slice_size=slice_size)
    fill(bench)
    bench.step()
    bench.step()
    assert values(bench) == all_of("ac")
    assert bench.offset(1) == 0
    other = MemorySource(bench.broker, bench.partitions[1:2])
    assert [r.value() for r in other.poll(10).records] == [b'"b%d"' % i for i in range(4)]


@pytest.mark.parametrize("slice_size", [3, 4, 6])
def test_partitions_may_leave_one_after_the_other(slice_size: int) -> None:
    bench = make({"a1": 0, "b3": 1}, slice_size=slice_size)
    fill(bench)
    bench.step()
    bench.step()
    assert values(bench) == all_of("c")
    assert [bench.offset(n) for n in range(3)] == [0, 0, 4]


def test_all_may_leave() -> None:
    bench = make({"c0": 0, "c1": 1, "c2": 2}, slice_size=2)
    fill(bench)
    bench.step()
    bench.step()
    assert values(bench) == []
    assert bench.broker.offsets == {}


def test_a_partition_may_be_back_before_anybody_looks() -> None:
    """What was read of it before it left is void: it is read again, from where the group stands."""

    def op(value: Any) -> Any:
        bench.now += 1
        if value == "a1" and bench.now < 4:
            bench.source.revoke(bench.partitions[0])
            bench.source.assign(bench.partitions[0])
        return value

    bench = Bench(op, partitions=3, slice_size=1)
    fill(bench, 2)
    bench.finish()
    assert values(bench) == all_of("abc", 2)


def test_a_partition_that_leaves_during_a_wait_is_not_committed() -> None:
    """The wait serves the client, so the proof of membership is new: the broker would take it."""
    left = [1]

    def op(value: Any) -> Any:
        if value == "a0" and left:
            left.pop()
            bench.source.revoke(bench.partitions[1])
            raise Retry(after=0.1)
        return value

    bench = Bench(op, partitions=3)
    fill(bench)
    bench.step()
    bench.step()
    assert values(bench) == all_of("ac")
    assert bench.offset(1) == 0


def test_nor_when_stopping_cuts_the_wait_short() -> None:
    def op(value: Any) -> Any:
        if value == "a1":
            bench.source.revoke(bench.partitions[1])
            raise Retry(after=0.3)
        return value

    bench = Bench(op, partitions=3, slice_size=3)
    fill(bench)
    sleep = bench.engine._parts.hooks.sleep

    def stop_then_sleep(seconds: float) -> None:
        bench.stop = True
        sleep(seconds)

    object.__setattr__(bench.engine._parts.hooks, "sleep", stop_then_sleep)
    with pytest.raises(Abandoned):
        bench.step()
    assert values(bench) == ["a0", "c0"]
    assert bench.offset(1) == 0


def test_a_partition_whose_leaving_the_commit_itself_notices_is_not_run_on() -> None:
    def op(value: Any) -> Any:
        if value == "a0":
            bench.source.revoke(bench.partitions[1])
        return value

    bench = Bench(op, partitions=3, slice_size=1, settle_bytes=0)
    fill(bench)
    fresh = iter([True, False])  # just fresh enough between slices, just too old for the commit
    bench.engine._membership.is_fresh = lambda: next(fresh, True)  # type: ignore[method-assign]
    bench.step()
    bench.step()
    assert values(bench) == all_of("ac")


def test_outputs_of_all_cannot_be_told_apart_so_all_is_run_again() -> None:
    @operator(mixes=True)
    def op(given: list[Any]) -> list[Any]:
        bench.now += 1
        if "b0" in given and bench.now < 2:
            bench.source.revoke(bench.partitions[1])
        return [given]

    bench = Bench(op, partitions=3, slice_size=100)
    fill(bench, 2)
    bench.step()
    assert (bench.outputs(), bench.count("aborts")) == ([], 1)
    for _ in range(5):
        bench.step()
    assert sorted(name for names in bench.outputs() for name in names) == all_of("ac", 2)
    assert bench.waits == []


def test_a_member_that_was_expelled_commits_nothing() -> None:
    def op(value: Any) -> Any:
        if value == "b0":
            bench.source.expel()
        return value

    bench = Bench(op, partitions=3)
    fill(bench)
    bench.step()
    assert (bench.outputs(), bench.broker.offsets) == ([], {})
    assert bench.troubles == []


def test_comings_and_goings_are_counted() -> None:
    bench = make({})
    fill(bench)
    bench.step()
    assert bench.count("rebalances") == 1
    bench.source.revoke(bench.partitions[0])
    bench.step()
    bench.step()
    assert bench.count("rebalances") == 2
    bench.source.assign(bench.partitions[0])
    bench.engine.idle()
    assert bench.count("rebalances") == 3


class Holder(MemorySink):
    """A sink that keeps offsets, and has a book for each partition that is the worker's."""

    rolls = False

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker, "out")
        self.books: set[Partition] = set()

    def standing(self, arrivals: Offsets) -> Offsets:
        self.books |= arrivals.keys()
        return arrivals

    def tick(
        self,
        tenure: Callable[[], Tenure],
        *,
        final: bool,
        paused: bool = False,
        leaving: Collection[Partition] = (),
    ) -> Offsets:
        del final, paused
        self.books -= {*tenure().departed, *leaving}
        return {}

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        end = super().begin(settlement)

        def run() -> None:
            self.books -= settlement.held().departed
            end()

        return run


def test_a_sink_that_keeps_offsets_hears_of_a_partition_that_has_left_before_a_commit() -> None:
    bench = Bench(lambda value: value, partitions=2, sink=Holder)
    bench.put("a", partition=0)
    bench.finish()
    assert bench.sink.books == set(bench.partitions)
    bench.source.revoke(bench.partitions[1])
    bench.put("b", partition=0)
    bench.step()  # which has a batch of the other partition, and no quiet moment
    assert bench.sink.books == {bench.partitions[0]}


def test_a_partition_that_has_left_and_is_back_is_not_taken_away_again() -> None:
    bench = Bench(lambda value: value, partitions=2, sink=Holder)
    bench.put("a", partition=0)
    bench.finish()
    bench.source.revoke(bench.partitions[1])
    bench.source.assign(bench.partitions[1])
    for _ in range(3):
        bench.now += 1
        bench.step()
    assert bench.sink.books == set(bench.partitions)
    bench.source.revoke(bench.partitions[1])
    bench.now += 1
    bench.step()
    bench.source.assign(bench.partitions[1])
    for _ in range(3):
        bench.now += 1
        bench.step()
    assert bench.sink.books == set(bench.partitions)
