"""The suites that every `Store` and every `RollingStore` must pass."""
# ruff: noqa: S101, PLR2004 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol
from unittest import SkipTest

from kafka_etl.contracts import (
    Conflict,
    Move,
    RefusedRows,
    RollingStore,
    Rows,
    Store,
    StoredOffset,
)
from kafka_etl.record import Offsets, Partition
from kafka_etl.testing.door_contract import DoorContract
from kafka_etl.testing.row_contract import given, same
from kafka_etl.testing.rows import rows


class StoreSystem(Protocol):
    """The suite's access to a store that no other test writes to; derive your system from it.

    Attributes:
        topic: Topic of the partitions that the suite moves.
        letters: Whether the store has a table of dead letters.
        upserts: Whether a row replaces the one with its key.
        deletes: Whether None as a value deletes the row with its key.
        breaks: Whether `break_target` and `mend_target` are there.
    """

    topic: str = "in"
    letters: bool = False
    upserts: bool = False
    deletes: bool = False
    breaks: bool = False

    @abstractmethod
    def store(self) -> Store:
        """Return a new store, not yet connected; all have the same target and the same name."""
        ...

    @abstractmethod
    def rows_in_target(self) -> Sequence[Any]:
        """Return the values that a reader of the target sees, in the form of `row`; any order."""
        ...

    def row(self, key: int, version: int = 0) -> Any:
        """Return a value of this key that the target takes; by default JSON."""
        return b'{"id":%d,"version":%d}' % (key, version)

    def key(self, key: int) -> Any:
        """Return the entry of `Rows.keys` for a row of this key."""
        return b"%d" % key

    def refused(self, key: int) -> Any:
        """Return a value of this key that the target refuses; None: it takes any value."""
        del key
        return None

    def undeletable(self) -> Any:
        """Return the key of a row whose deletion the target refuses, as others refer to it, say.

        In the form of `key`; None, the default: the target refuses no deletion.
        """
        return None

    def letters_in_target(self) -> Sequence[bytes]:
        """Return the dead letters in the store's own table, as JSON, in any order."""
        return ()

    def break_target(self) -> None:
        """Make every commit fail from now on, as a missing table does."""

    def mend_target(self) -> None:
        """Undo `break_target`."""


class StoreContract(DoorContract[Store]):
    """Rows and offsets are written together or not at all, and only where the offsets stand."""

    def door(self, system: StoreSystem) -> Store:
        return system.store()

    def commit(
        self,
        store: Store,
        wanted: Rows,
        moves: Mapping[Partition, Move],
        letters: Sequence[bytes] = (),
    ) -> None:
        """Commit, and make durable at once what a rolling store would keep open."""
        store.commit(wanted, moves, letters)
        if isinstance(store, RollingStore):
            store.roll(final=True)

    @contextmanager
    def connected(self, system: StoreSystem, partitions: int = 1) -> Generator[Store, None, None]:
        """Connect a store in which this number of partitions stand at 0; close that store."""
        store = system.store()
        store.connect()
        try:
            store.place({tp: StoredOffset(0) for tp in of(system, partitions)}, overwrite=False)
            yield store
        finally:
            store.close()

    def conflict(
        self, store: Store, wanted: Rows, moves: Mapping[Partition, Move]
    ) -> frozenset[Partition]:
        """Return the partitions of the conflict in which a commit ends; connect anew."""
        try:
            self.commit(store, wanted, moves)
        except Conflict as conflict:
            if isinstance(store, RollingStore):
                store.discard(conflict.partitions)
            reconnect(store)
            return conflict.partitions
        raise AssertionError("the commit should have ended in a conflict")

    def test_unknown_partitions_are_left_out(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            assert set(store.offsets(of(system, 3))) == set(of(system, 1))
            assert not store.offsets([Partition("another", 0)])
            assert not store.offsets([])

    def test_a_standing_comes_back_as_it_was_placed(self, system: StoreSystem) -> None:
        wanted = {
            tp: StoredOffset(2**40 + tp.number, 3, "a topic's id", "a group")
            for tp in of(system, 3)
        }
        with self.connected(system, 0) as store:
            store.place(wanted, overwrite=False)
            reconnect(store)
            assert dict(store.offsets(of(system, 3))) == wanted

    def test_place_keeps_what_stands_unless_told_to_overwrite(self, system: StoreSystem) -> None:
        one, two = of(system, 2)
        with self.connected(system) as store:
            store.place({one: StoredOffset(7, 1), two: StoredOffset(8)}, overwrite=False)
            assert standing(store, system, 2) == [(0, 0), (8, 0)]
            store.place({one: StoredOffset(7, 1)}, overwrite=True)
            assert standing(store, system, 2) == [(7, 1), (8, 0)]

    def test_rows_and_offsets_are_there_after_a_commit(self, system: StoreSystem) -> None:
        with self.connected(system, 2) as store:
            before = store.offsets(of(system, 2))
            one, two = of(system, 2)
            self.commit(store, some(system, range(3)), {one: Move(0, 2), two: Move(0, 5)})
            assert same(system.rows_in_target(), map(system.row, range(3)))
            assert dict(store.offsets(of(system, 2))) == {
                one: replace(before[one], next=2),
                two: replace(before[two], next=5),
            }

    def test_one_commit_after_the_other(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            for number in range(5):
                self.commit(store, some(system, [number]), moved(system, number))
            assert same(system.rows_in_target(), map(system.row, range(5)))
            assert standing(store, system) == [(5, 0)]

    def test_a_thousand_rows_are_one_commit(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            self.commit(store, some(system, range(1000)), moved(system, 0, 1000))
            assert same(system.rows_in_target(), map(system.row, range(1000)))

    def test_a_move_by_nothing_without_rows_is_a_commit(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            self.commit(store, rows(), moved(system, 0, 0))
            assert standing(store, system) == [(0, 0)]
            assert list(system.rows_in_target()) == []

    def test_offsets_without_rows_move_and_rows_with_a_move_by_nothing_are_written(
        self, system: StoreSystem
    ) -> None:
        with self.connected(system) as store:
            self.commit(store, rows(), moved(system, 0, 9))
            assert standing(store, system) == [(9, 0)]
            self.commit(store, some(system, [1]), moved(system, 9, 0))
            assert standing(store, system) == [(9, 0)]
            assert same(system.rows_in_target(), [system.row(1)])

    def test_a_commit_from_another_begin_is_a_conflict(self, system: StoreSystem) -> None:
        with self.connected(system, 2) as store:
            one, two = of(system, 2)
            self.commit(store, some(system, [1]), {one: Move(0, 5)})
            for begin in (0, 4, 6):
                moves = {one: Move(begin, 7), two: Move(0, 3)}
                assert self.conflict(store, some(system, [2]), moves) == {one}
            assert standing(store, system, 2) == [(5, 0), (0, 0)]
            assert same(system.rows_in_target(), [system.row(1)])

    def test_a_commit_in_another_generation_is_a_conflict(self, system: StoreSystem) -> None:
        """After a reset the old offset may fit again, though the worker is a late one."""
        tp = of(system, 1)[0]
        with self.connected(system) as store:
            store.place({tp: StoredOffset(4, 2)}, overwrite=True)
            for generation in (0, 1, 3):
                moves = {tp: Move(4, 5, generation)}
                assert self.conflict(store, some(system, [1]), moves) == {tp}
            assert not system.rows_in_target()
            self.commit(store, some(system, [1]), {tp: Move(4, 5, 2)})
            assert standing(store, system) == [(5, 2)]

    def test_a_partition_that_is_not_in_the_store_is_a_conflict(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            one, two = of(system, 2)
            moves = {one: Move(0, 1), two: Move(0, 1)}
            assert self.conflict(store, some(system, [1]), moves) == {two}
            assert standing(store, system) == [(0, 0)]
            assert not system.rows_in_target()

    def test_among_200_partitions_exactly_those_that_moved_are_named(
        self, system: StoreSystem
    ) -> None:
        everything = of(system, 200)
        moved = set(everything[::67])
        with self.connected(system, 200) as store:
            store.place({tp: StoredOffset(3) for tp in moved}, overwrite=True)
            moves = {tp: Move(0, 10) for tp in everything}
            assert self.conflict(store, some(system, [1]), moves) == moved
            assert not system.rows_in_target()
            rest = {tp: move for tp, move in moves.items() if tp not in moved}
            self.commit(store, some(system, [1]), rest)
            found = store.offsets(everything)
            assert {tp for tp in everything if found[tp].next == 3} == moved
            assert {tp for tp in everything if found[tp].next == 10} == set(rest)

    def test_all_refused_rows_are_named_in_one_pass_and_the_rest_then_commits(
        self, system: StoreSystem
    ) -> None:
        given(system.refused(0), "a value that the target refuses")
        bad = {0, 7, 8, 31, 49}
        wanted = rows(
            *(system.refused(n) if n in bad else system.row(n) for n in range(50)),
            keys=list(map(system.key, range(50))),
        )
        good = [n for n in range(50) if n not in bad]
        with self.connected(system) as store:
            assert self.refusals(store, wanted, moved(system, 0, 50)) == bad
            assert standing(store, system) == [(0, 0)]
            assert not system.rows_in_target()
            self.commit(store, wanted.take(good), moved(system, 0, 50))
            assert standing(store, system) == [(50, 0)]
            assert same(system.rows_in_target(), map(system.row, good))

    def refusals(self, store: Store, wanted: Rows, moves: Mapping[Partition, Move]) -> set[int]:
        """Return the positions of the rows that a commit names as refused; connect anew."""
        try:
            self.commit(store, wanted, moves)
        except RefusedRows as refused:
            reconnect(store)
            return set(refused.rows)
        raise AssertionError("the store should have refused rows")

    def test_a_commit_repeated_after_a_lost_answer_doubles_nothing(
        self, system: StoreSystem
    ) -> None:
        tp = of(system, 1)[0]
        with self.connected(system) as store:
            self.commit(store, some(system, [1]), moved(system, 0))
            reconnect(store)
            assert self.conflict(store, some(system, [1]), moved(system, 0)) == {tp}
            assert same(system.rows_in_target(), [system.row(1)])
            assert standing(store, system) == [(1, 0)]

    def test_the_later_of_two_stores_conflicts(self, system: StoreSystem) -> None:
        with self.connected(system) as late, self.connected(system) as store:
            self.commit(store, some(system, [1]), moved(system, 0))
            assert self.conflict(late, some(system, [2]), moved(system, 0)) == set(of(system, 1))
            self.commit(late, some(system, [2]), moved(system, 1))
            assert same(system.rows_in_target(), map(system.row, (1, 2)))

    def test_dead_letters_are_written_with_the_rows_or_not_at_all(
        self, system: StoreSystem
    ) -> None:
        if not system.letters:
            raise SkipTest("the store has no table of dead letters")
        letters = [b'{"letter":1}', b'{"letter":2}']
        with self.connected(system) as store:
            try:
                self.commit(store, some(system, [1]), moved(system, 5), letters)
            except Conflict:
                reconnect(store)
            assert not system.letters_in_target()
            self.commit(store, some(system, [1]), moved(system, 0), letters)
            assert same(system.letters_in_target(), letters)

    def test_a_store_goes_on_after_a_new_connect(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            self.commit(store, some(system, [1]), moved(system, 0))
            reconnect(store)
            assert standing(store, system) == [(1, 0)]
            self.commit(store, some(system, [2]), moved(system, 1))
            assert same(system.rows_in_target(), map(system.row, (1, 2)))

    def test_a_close_without_a_connect_is_harmless(self, system: StoreSystem) -> None:
        store = system.store()
        store.close()
        store.close()

    def test_a_broken_target_condemns_no_row_and_writes_nothing(self, system: StoreSystem) -> None:
        if not system.breaks:
            raise SkipTest("the system cannot break its target")
        with self.connected(system) as store:
            system.break_target()
            try:
                self.commit(store, some(system, [1]), moved(system, 0))
            except (RefusedRows, Conflict) as error:
                raise AssertionError("the target is broken, not a row or an offset") from error
            except Exception:  # noqa: BLE001, S110 - a store may raise anything else
                pass
            else:
                raise AssertionError("a broken target cannot commit")
            finally:
                system.mend_target()
            reconnect(store)
            assert standing(store, system) == [(0, 0)]
            self.commit(store, some(system, [1]), moved(system, 0))
            assert same(system.rows_in_target(), [system.row(1)])

    def test_the_last_row_of_a_key_wins(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            self.commit(store, versions(system, 1, [0, 1, 2]), moved(system, 0, 3))
            assert same(system.rows_in_target(), [system.row(1, 2)])
            self.commit(store, versions(system, 1, [3]), moved(system, 3))
            assert same(system.rows_in_target(), [system.row(1, 3)])

    def test_an_older_row_of_a_key_returns_when_the_newer_one_is_refused(
        self, system: StoreSystem
    ) -> None:
        first = versions(system, 1, [1]).values[0]
        bad = given(system.refused(1), "a value that the target refuses")
        wanted = rows(first, bad, keys=[system.key(1)] * 2)
        with self.connected(system) as store:
            assert self.refusals(store, wanted, moved(system, 0, 2)) == {1}
            self.commit(store, wanted.take([0]), moved(system, 0, 2))
            assert same(system.rows_in_target(), [first])

    def test_a_refused_row_is_named_though_a_newer_one_of_its_key_is_good(
        self, system: StoreSystem
    ) -> None:
        """A store may also drop the refused row unseen, as one that was replaced."""
        last = versions(system, 1, [2]).values[0]
        bad = given(system.refused(1), "a value that the target refuses")
        wanted = rows(bad, last, keys=[system.key(1)] * 2)
        with self.connected(system) as store:
            try:
                self.commit(store, wanted, moved(system, 0, 2))
            except RefusedRows as refused:
                assert set(refused.rows) == {0}  # noqa: PT017 - a suite needs no pytest
                reconnect(store)
                self.commit(store, wanted.take([1]), moved(system, 0, 2))
            assert same(system.rows_in_target(), [last])

    def test_a_tombstone_deletes_the_row_of_its_key(self, system: StoreSystem) -> None:
        if not system.deletes:
            raise SkipTest("tombstones delete nothing here")
        with self.connected(system) as store:
            self.commit(store, some(system, [1, 2, 3]), moved(system, 0, 3))
            deletions = rows(
                None,
                None,
                system.row(2, 1),
                system.row(3, 1),
                None,
                keys=list(map(system.key, (1, 2, 2, 3, 3))),
            )
            self.commit(store, deletions, moved(system, 3, 5))
            assert same(system.rows_in_target(), [system.row(2, 1)])

    def test_a_tombstone_that_is_refused_is_named_and_the_others_then_delete(
        self, system: StoreSystem
    ) -> None:
        """A deletion that is taken for a fault of the target would hold up the pipeline for ever.

        A store whose target does not say which row is to blame may name others with that one.
        """
        kept = given(system.undeletable(), "a row that the target does not delete")
        before = list(system.rows_in_target())
        with self.connected(system) as store:
            self.commit(store, some(system, [1, 2]), moved(system, 0, 2))
            wanted = rows(None, None, None, keys=[system.key(1), kept, system.key(2)])
            assert 1 in self.refusals(store, wanted, moved(system, 2, 3))
            assert standing(store, system) == [(2, 0)]
            assert same(system.rows_in_target(), [*before, system.row(1), system.row(2)])
            self.commit(store, wanted.take([0, 2]), moved(system, 2, 3))
            assert same(system.rows_in_target(), before)


class RollingStoreContract(StoreContract):
    """What a rolling store has taken is durable after a roll, as a whole or not at all."""

    def test_what_is_open_is_not_there_until_the_roll(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            rolling = as_rolling(store)
            rolling.commit(some(system, [1]), moved(system, 0), ())
            rolling.commit(some(system, [2]), moved(system, 1), ())
            assert not system.rows_in_target()
            assert standing(store, system) == [(0, 0)]
            assert roll(rolling) == {of(system, 1)[0]: 2}
            assert same(system.rows_in_target(), map(system.row, (1, 2)))
            assert standing(store, system) == [(2, 0)]
            assert roll(rolling) == {}

    def test_a_commit_begins_where_the_last_one_was_taken(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            rolling = as_rolling(store)
            rolling.commit(some(system, [1]), moved(system, 0), ())
            assert self.conflict_of_taken(rolling, system)
            assert not system.rows_in_target()

    def conflict_of_taken(self, store: RollingStore, system: StoreSystem) -> bool:
        """Whether a commit from the durable offset, not the taken one, is a conflict."""
        try:
            store.commit(some(system, [2]), moved(system, 0), ())
        except Conflict as conflict:
            return conflict.partitions == frozenset(of(system, 1))
        return False

    def test_what_was_discarded_never_comes(self, system: StoreSystem) -> None:
        with self.connected(system) as store:
            rolling = as_rolling(store)
            rolling.commit(some(system, [1]), moved(system, 0), ())
            rolling.discard(of(system, 1))
            assert roll(rolling) == {}
            assert not system.rows_in_target()
            rolling.commit(some(system, [2]), moved(system, 0), ())
            assert roll(rolling) == {of(system, 1)[0]: 1}
            assert same(system.rows_in_target(), [system.row(2)])

    def test_a_roll_after_another_worker_moved_is_a_conflict(self, system: StoreSystem) -> None:
        with self.connected(system) as late, self.connected(system) as store:
            as_rolling(late).commit(some(system, [1]), moved(system, 0), ())
            self.commit(store, some(system, [2]), moved(system, 0))
            try:
                roll(as_rolling(late))
            except Conflict as conflict:
                assert conflict.partitions == set(of(system, 1))  # noqa: PT017
            else:
                raise AssertionError("the roll should have ended in a conflict")
            as_rolling(late).discard(of(system, 1))
            assert same(system.rows_in_target(), [system.row(2)])
            self.commit(late, some(system, [3]), moved(system, 1))
            assert same(system.rows_in_target(), map(system.row, (2, 3)))

    def test_what_is_open_stays_open_over_a_new_connect(self, system: StoreSystem) -> None:
        """The framework connects anew after a failed roll, and then rolls again."""
        with self.connected(system) as store:
            rolling = as_rolling(store)
            rolling.commit(some(system, [1]), moved(system, 0), ())
            reconnect(rolling)
            rolling.commit(some(system, [2]), moved(system, 1), ())
            assert roll(rolling) == {of(system, 1)[0]: 2}
            assert same(system.rows_in_target(), map(system.row, (1, 2)))

    def test_files_of_a_partition_that_leaves_are_due(self, system: StoreSystem) -> None:
        one, two = of(system, 2)
        with self.connected(system, 2) as store:
            rolling = as_rolling(store)
            assert not rolling.due(final=True)
            rolling.commit(some(system, [1]), {one: Move(0, 1)}, ())
            assert not rolling.due(final=False, leaving=[two])
            assert rolling.due(final=False, leaving=[one])
            assert rolling.roll(final=False, leaving=[one]) == {one: 1}
            assert same(system.rows_in_target(), [system.row(1)])
            assert not rolling.due(final=True)

    def test_what_is_open_at_the_end_of_a_connection_comes_once_at_most(
        self, system: StoreSystem
    ) -> None:
        """The framework takes up from the durable offset: the rows are committed once more."""
        with self.connected(system) as store:
            as_rolling(store).commit(some(system, [1]), moved(system, 0), ())
        with self.connected(system) as store:
            assert standing(store, system) == [(0, 0)]
            self.commit(store, some(system, [1]), moved(system, 0))
            assert same(system.rows_in_target(), [system.row(1)])


def of(system: StoreSystem, count: int) -> list[Partition]:
    """Return the first partitions of the system's topic."""
    return [Partition(system.topic, number) for number in range(count)]


def some(system: StoreSystem, numbers: Iterable[int]) -> Rows:
    """Return a row for each number, each of another key."""
    chosen = list(numbers)
    return rows(*map(system.row, chosen), keys=list(map(system.key, chosen)), offsets=chosen)


def versions(system: StoreSystem, key: int, numbers: Sequence[int]) -> Rows:
    """Return rows of one key; skip the test where a row does not replace the one of its key."""
    if not system.upserts:
        raise SkipTest("rows do not replace each other here")
    return rows(
        *(system.row(key, version) for version in numbers),
        keys=[system.key(key)] * len(numbers),
        offsets=numbers,
    )


def moved(system: StoreSystem, begin: int, by: int = 1) -> dict[Partition, Move]:
    """Return the move of the first partition from an offset on."""
    return {of(system, 1)[0]: Move(begin, begin + by)}


def standing(store: Store, system: StoreSystem, partitions: int = 1) -> list[tuple[int, int]]:
    """Return next offset and generation of the first partitions."""
    wanted = of(system, partitions)
    found = store.offsets(wanted)
    return [(found[tp].next, found[tp].generation) for tp in wanted]


def reconnect(store: Store) -> None:
    """Connect anew, as the framework does after every exception."""
    store.close()
    store.connect()


def as_rolling(store: Store) -> RollingStore:
    """Return the store as the rolling one that it must be."""
    assert isinstance(store, RollingStore)
    return store


def roll(store: RollingStore) -> Offsets:
    """Close all open files; return the durable offsets of the moved partitions."""
    return store.roll(final=True)
