"""The part of the suites that writers and senders have in common."""
# ruff: noqa: S101 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from unittest import SkipTest

from kafka_etl.contracts import Again, Refused, Rows
from kafka_etl.testing.door_contract import DoorContract, DoorT
from kafka_etl.testing.rows import rows

Verdicts = Mapping[int, Refused | Again]
"""Position -> verdict of each row that the target has not taken."""


class RowSystem(Protocol):
    """The suite's access to a target that no other test writes to; derive your system from it.

    Attributes:
        refused: A value that the target refuses; None: the target takes any value.
        tombstones: Whether the target can hold a tombstone; else the door must refuse tombstones.
    """

    refused: Any = None
    tombstones: bool = True

    @abstractmethod
    def written(self) -> Sequence[Any]:
        """Return the values in the target, in the order of their arrival; None: a tombstone."""
        ...

    def value(self, number: int) -> Any:
        """Return a value that the target takes: another one for each number. JSON by default."""
        return b'{"id":%d}' % number

    def seen_ids(self) -> Sequence[str | None] | None:
        """Return the ids of the rows in the target, as often as they are there.

        None, the default: the target does not show them.
        """
        return None


class RowContract(DoorContract[DoorT]):
    """An acknowledged row is in the target without any later call; any other row is named.

    Rows of different keys may arrive in any order; those of one key keep theirs.
    """

    def write(self, door: DoorT, wanted: Rows) -> Verdicts:
        """Write rows within the door's limits, and check the form of the answers."""
        raise NotImplementedError

    @contextmanager
    def connected(self, system: Any) -> Generator[DoorT, None, None]:
        """Connect a new door, and close that door in the end."""
        door = self.door(system)
        door.connect()
        try:
            yield door
        finally:
            door.close()

    def test_what_was_acknowledged_is_there_without_a_later_call(self, system: RowSystem) -> None:
        with self.connected(system) as door:
            assert not self.write(door, numbered(system, range(3)))
            assert same(system.written(), numbered(system, range(3)).values)

    def test_nothing_is_acknowledged_too(self, system: RowSystem) -> None:
        with self.connected(system) as door:
            assert not self.write(door, rows())
            assert list(system.written()) == []
            assert not self.write(door, numbered(system, [1]))
            assert list(system.written()) == [system.value(1)]

    def test_a_thousand_rows_arrive_once_each(self, system: RowSystem) -> None:
        wanted = numbered(system, range(1000))
        with self.connected(system) as door:
            assert not self.write(door, wanted)
            assert same(system.written(), wanted.values)

    def test_rows_of_one_key_keep_their_order_from_set_to_set(self, system: RowSystem) -> None:
        wanted = [system.value(number) for number in range(10)]
        with self.connected(system) as door:
            for at, value in enumerate(wanted):
                assert not self.write(door, rows(value, keys=[b"key"], offsets=[at]))
        assert list(system.written()) == wanted

    def test_a_tombstone_is_neither_lost_nor_an_empty_value(self, system: RowSystem) -> None:
        wanted = rows(system.value(1), None, system.value(2), keys=[b"a", b"b", b"c"])
        with self.connected(system) as door:
            verdicts = self.write(door, wanted)
            if system.tombstones:
                assert not verdicts
                assert same(system.written(), wanted.values)
            else:
                assert set(verdicts) == {1}, "a tombstone must be refused, not lost"
                assert isinstance(verdicts[1], Refused)
                assert same(system.written(), [system.value(1), system.value(2)])

    def test_every_column_may_be_absent(self, system: RowSystem) -> None:
        wanted = numbered(system, range(3))
        with self.connected(system) as door:
            assert not self.write(door, rows(*wanted.values))
            assert same(system.written(), wanted.values)

    def test_every_column_may_be_there_for_some_rows(self, system: RowSystem) -> None:
        values = [system.value(number) for number in range(4)]
        wanted = rows(
            *values,
            keys=[b"key", None, b"\xff", b""],
            headers=[[("name", b"value"), ("name", None)], None, [], [("\u00e9", b"\xff")]],
            timestamps=[1_700_000_000_000, 0, 2, 0],
            destinations=[None, None, None, None],
            offsets=[0, 0, None, 3],
        )
        with self.connected(system) as door:
            assert not self.write(door, wanted)
            assert same(system.written(), values)

    def test_a_refused_row_is_named_and_the_others_are_there(self, system: RowSystem) -> None:
        bad = given(system.refused, "a value that the target refuses")
        values = [bad if number in {1, 3} else system.value(number) for number in range(5)]
        with self.connected(system) as door:
            verdicts = self.write(door, rows(*values, keys=keys_of(range(5))))
            assert set(verdicts) == {1, 3}
            assert all(isinstance(verdict, Refused) for verdict in verdicts.values())
            assert same(system.written(), [system.value(number) for number in (0, 2, 4)])

    def test_a_lone_refused_row_is_no_error_and_the_next_set_is_taken(
        self, system: RowSystem
    ) -> None:
        bad = given(system.refused, "a value that the target refuses")
        with self.connected(system) as door:
            assert set(self.write(door, rows(bad, keys=[b"key"]))) == {0}
            assert list(system.written()) == []
            assert not self.write(door, rows(system.value(1), keys=[b"key"], offsets=[1]))
            assert list(system.written()) == [system.value(1)]

    def test_a_door_goes_on_after_a_new_connect(self, system: RowSystem) -> None:
        with self.connected(system) as door:
            assert not self.write(door, numbered(system, [0]))
            door.close()
            door.connect()
            assert not self.write(door, numbered(system, [1]))
            assert same(system.written(), [system.value(0), system.value(1)])

    def test_another_door_goes_on_where_one_ended(self, system: RowSystem) -> None:
        for number in range(2):
            with self.connected(system) as door:
                assert not self.write(door, numbered(system, [number]))
        assert same(system.written(), [system.value(0), system.value(1)])

    def test_a_close_without_a_connect_is_harmless(self, system: RowSystem) -> None:
        door = self.door(system)
        door.close()
        door.close()

    def test_the_target_knows_each_row_by_its_id(self, system: RowSystem) -> None:
        given(system.seen_ids(), "ids in the target")
        wanted = numbered(system, range(3))
        with self.connected(system) as door:
            assert not self.write(door, wanted)
            assert sorted(map(str, system.seen_ids() or ())) == sorted(map(str, wanted.ids))


def numbered(system: RowSystem, numbers: Iterable[int]) -> Rows:
    """Return rows with the values of these numbers, each of another key, at these offsets."""
    chosen = list(numbers)
    return rows(*map(system.value, chosen), keys=keys_of(chosen), offsets=chosen)


def keys_of(numbers: Iterable[int]) -> list[bytes]:
    """Return one key for each number."""
    return [b"key %d" % number for number in numbers]


def same(found: Iterable[Any], wanted: Iterable[Any]) -> bool:
    """Compare two sets of values in which a value may be several times; any order.

    Raises:
        AssertionError: They differ.
    """
    assert sorted(found, key=repr) == sorted(wanted, key=repr)
    return True


def given(part: Any, name: str) -> Any:
    """Return an optional part of a system; skip the test where the system has none."""
    if part is None:
        raise SkipTest(f"the system has none of this: {name}")
    return part


def checked(position: int, verdict: object, count: int) -> Refused | Again:
    """Check the form of one entry of an answer for this number of rows."""
    assert type(position) is int, f"a position must be an int, not {position!r}"
    assert 0 <= position < count, f"there is no row {position} in a set of {count}"
    assert isinstance(verdict, (Refused, Again)), f"no verdict: {verdict!r}"
    return verdict
