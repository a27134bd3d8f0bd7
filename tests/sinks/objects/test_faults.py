"""Workers that die, pause and fight: every record counts once, whatever happened."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from kafka_etl.contracts import Conflict, Move, Unreachable
from kafka_etl.record import Partition
from tests.sinks.objects.system import DAY, OTHER, TP, Died, World, nothing, rows, take


def two_days(offset: int) -> int:
    return DAY * (offset % 2)


def fail_at(bucket, number: int, when: str) -> None:
    """Fail at the request of this number from now on, and at all later ones: the worker is dead."""
    start = len(bucket.calls)

    def fail(_name, _path):
        asked = len(bucket.calls) - start
        return when if asked == number else "before" if asked > number else None

    bucket.fail = fail


REQUESTS = 8
"""Of a roll with two files: intent, two objects, manifest, tidying up, and one more than all."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, REQUESTS))
def test_a_worker_dies_at_any_request_of_a_roll(world, number, when):
    world.place()
    bucket = world.bucket()
    first = world.store(bucket)
    take(first, 0, 4, stamps=two_days)
    fail_at(bucket, number, when)
    with suppress(Died):
        first.roll(final=True)
    second = world.store()
    at = second.offsets([TP])[TP].next
    assert at in (0, 4)
    take(second, at, 6, stamps=two_days)
    second.roll(final=True)
    assert sorted(world.ids()) == [0, 1, 2, 3, 4, 5]
    assert sorted(world.data()) == sorted(p.removeprefix(f"{world.url}/") for p in world.files())
    assert world.intents() == []


def test_every_request_of_a_roll_was_tried():
    world = World("memory://counted")
    world.place()
    bucket = world.bucket()
    store = world.store(bucket)
    take(store, 0, 4, stamps=two_days)
    asked = len(bucket.calls)
    store.roll(final=True)
    assert len(bucket.calls) - asked < REQUESTS


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 5))
def test_a_store_that_is_away_in_a_roll_is_asked_again_and_later_rows_wait(world, number, when):
    world.place()
    bucket = world.bucket()
    bucket.error = lambda: Unreachable("away")
    store = world.store(bucket)
    take(store, 0, 4, stamps=two_days)
    fail_at(bucket, number, when)
    with pytest.raises(Unreachable):
        store.roll(final=True)
    store.close()
    store.connect()
    take(store, 4, 6, stamps=two_days)
    bucket.fail = lambda _name, _path: None
    assert store.due(final=False)
    assert store.roll(final=True) == {TP: 6}
    assert sorted(world.ids()) == [0, 1, 2, 3, 4, 5]
    assert len(world.data()) == 4
    assert world.intents() == []


def test_the_lost_answer_of_a_manifest_is_recognised_as_our_own(world):
    world.place()
    bucket = world.bucket()
    bucket.error = lambda: Unreachable("the answer is lost")
    store = world.store(bucket)
    take(store, 0, 2)
    bucket.fail = lambda name, _path: "after" if name == "create" else None
    with pytest.raises(Unreachable):
        store.roll(final=True)
    bucket.fail = lambda _name, _path: None
    puts = [call for call in bucket.calls if call[0] == "put"]
    assert store.roll(final=False) == {TP: 2}
    assert [call for call in bucket.calls if call[0] == "put"] == puts  # nothing is sent again
    assert world.ids() == [0, 1]


def test_one_of_two_owners_wins_and_the_other_leaves_nothing(world):
    world.place()
    first, second = world.store(), world.store()
    take(first, 0, 4, stamps=two_days)
    take(second, 0, 3)
    assert second.roll(final=True) == {TP: 3}
    with pytest.raises(Conflict) as lost:
        first.roll(final=True)
    assert lost.value.partitions == {TP}
    assert world.ids() == [0, 1, 2]
    assert len(world.data()) == 1
    assert world.intents() == []
    assert not first.due(final=True)
    at = first.offsets([TP])[TP].next
    take(first, at, 5)
    assert first.roll(final=True) == {TP: 5}
    assert world.ids() == [0, 1, 2, 3, 4]


def test_a_zombie_that_wakes_after_its_objects_is_not_read(world):
    world.place()
    bucket = world.bucket()
    bucket.error = lambda: Unreachable("asleep")
    zombie, heir = world.store(bucket), world.store()
    take(zombie, 0, 4)
    bucket.fail = lambda name, _path: "before" if name == "create" else None
    with pytest.raises(Unreachable):
        zombie.roll(final=True)
    take(heir, 0, 2)
    heir.roll(final=True)
    take(heir, 2, 6)
    heir.roll(final=True)
    bucket.fail = lambda _name, _path: None
    with pytest.raises(Conflict):
        zombie.roll(final=True)
    assert world.ids() == [0, 1, 2, 3, 4, 5]
    assert len(world.data()) == 2


def test_the_objects_of_a_worker_that_may_still_win_are_not_swept(world):
    world.place()
    bucket = world.bucket()
    bucket.error = lambda: Unreachable("slow")
    heir, slow = world.store(), world.store(bucket)
    take(heir, 0, 1)
    heir.roll(final=True)
    take(slow, 1, 4)
    bucket.fail = lambda name, _path: "before" if name == "create" else None
    with pytest.raises(Unreachable):
        slow.roll(final=True)
    heir._chains.sweep(TP)  # while the other is under way
    bucket.fail = lambda _name, _path: None
    assert slow.roll(final=False) == {TP: 4}
    assert world.ids() == [0, 1, 2, 3]


def test_offsets_that_moved_while_rows_are_open_make_these_rows_void(world):
    world.place()
    worker, stranger = world.store(), world.store()
    take(worker, 0, 2)
    take(stranger, 0, 3)
    stranger.roll(final=True)
    assert worker.offsets([TP])[TP].next == 3
    with pytest.raises(Conflict):
        worker.roll(final=True)
    assert world.ids() == [0, 1, 2]


def test_one_conflict_among_many_partitions_costs_the_others_nothing(world):
    world.place(TP, OTHER)
    store = world.store()
    take(store, 0, 2)
    take(store, 0, 2, OTHER)
    stranger = world.store()
    take(stranger, 0, 1)
    stranger.roll(final=True)
    with pytest.raises(Conflict) as lost:
        store.roll(final=True)
    assert lost.value.partitions == {TP}
    assert store.due(final=False)
    assert store.roll(final=False) == {OTHER: 2}
    assert world.ids() == [0, 0, 1]  # of the stranger, then of the other partition


def test_conflict_and_outage_in_one_roll(world):
    world.place(TP, OTHER)
    bucket = world.bucket()
    bucket.error = lambda: Unreachable("away")
    store = world.store(bucket)
    take(store, 0, 2)
    take(store, 0, 2, OTHER)
    bucket.fail = lambda name, path: "before" if name == "put" and "orders-1-" in path else None
    with pytest.raises(Unreachable):
        store.roll(final=True)
    bucket.fail = lambda _name, _path: None
    assert store.roll(final=False) == {TP: 2, OTHER: 2}
    assert world.ids() == [0, 1, 0, 1]


def test_an_outage_fills_the_disk_so_far_and_no_further(world):
    world.place()
    bucket = world.bucket()
    bucket.error = lambda: Unreachable("away")
    store = world.store(bucket, disk="8KiB")
    store.offsets([TP])
    bucket.fail = lambda _name, _path: "before"
    at, said = 0, ""
    while not said:
        try:
            take(store, at, at + 100)
        except Unreachable as full:
            said = full.reason
            break
        at += 100
        if store.due(final=False):
            with pytest.raises(Unreachable, match="away"):
                store.roll(final=False)
    assert "takes none of them" in said
    assert 1000 < at < 3000
    store.discard([TP])  # as the engine does
    store.close()
    for _ in range(3):
        with pytest.raises(Unreachable):
            store.connect()
    bucket.fail = lambda _name, _path: None
    store.connect()
    take(store, store.offsets([TP])[TP].next, at)
    store.roll(final=True)
    assert world.ids() == list(range(at))


def test_a_store_that_is_away_is_asked_for_few_of_many_partitions(world):
    partitions = [Partition("orders", number) for number in range(100)]
    world.place(*partitions)
    bucket = world.bucket()
    bucket.error = lambda: Unreachable("away")
    store = world.store(bucket)
    for tp in partitions:
        take(store, 0, 1, tp)
    asked = len(bucket.calls)
    bucket.fail = lambda _name, _path: "before"
    with pytest.raises(Unreachable):
        store.roll(final=True)
    assert len(bucket.calls) - asked < 20
    bucket.fail = lambda _name, _path: None
    assert len(store.roll(final=True)) == 100


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_every_record_counts_once(seed):
    """Three workers, all of which believe that both partitions are theirs, on a bad line."""
    world, chance = World(f"memory://seed-{seed}"), random.Random(seed)
    world.place(TP, OTHER)
    workers = [Worker(world, chance) for _ in range(3)]
    for _ in range(80):
        worker = chance.choice(workers)
        world.now += chance.choice((0, 1, 400))
        worker.bucket.fail = trouble(chance, chance.choice((0.0, 0.0, 0.3)))
        worker.step()
        if chance.random() < 0.1:
            workers[workers.index(worker)] = Worker(world, chance)  # killed
    last, ends = Worker(world, chance), {}
    for tp, at in last.store.offsets([TP, OTHER]).items():
        take(last.store, at.next, at.next + 3, tp, stamps=two_days)
        ends[tp] = at.next + 3
    last.store.roll(final=True)
    for tp in (TP, OTHER):
        found = []
        for path in world.files():
            if f"orders-{tp.number}-" in path:
                found += [row["id"] for row in world.rows(path)]
        assert sorted(found) == list(range(ends[tp])), tp


def trouble(chance: random.Random, share: float):
    def fail(_name, _path):
        return chance.choice(("before", "after")) if chance.random() < share else None

    return fail


class Worker:
    """Does what the engine does: after any error the offsets are asked for again."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.bucket = world.bucket()
        self.bucket.error = lambda: Unreachable("away")
        self.store = world.store(self.bucket)
        self.next: dict = {}
        self.chance = chance

    def step(self) -> None:
        try:
            self._step()
        except Conflict as conflict:
            self.store.discard(conflict.partitions)
            for tp in conflict.partitions:
                self.next.pop(tp, None)
        except Unreachable:
            if self.chance.random() < 0.5:
                return  # a roll that is tried again
            self.store.discard(list(self.next))
            self.next = {}

    def _step(self) -> None:
        missing = [tp for tp in (TP, OTHER) if tp not in self.next]
        if missing:
            self.next |= {tp: at.next for tp, at in self.store.offsets(missing).items()}
        tp, count = self.chance.choice((TP, OTHER)), self.chance.choice((0, 1, 3))
        if self.chance.random() < 0.6 and tp in self.next:
            at = self.next[tp]
            given = rows(at, at + count, tp, stamps=two_days) if count else nothing()
            self.store.commit(given, {tp: Move(at, at + count)}, [])
            self.next[tp] = at + count
        if self.store.due(final=False):
            self.store.roll(final=self.chance.random() < 0.2)
