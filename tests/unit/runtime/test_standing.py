"""How far a worker is, in few numbers: what is unknown is never shown as nothing."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from kafka_etl.contracts import Position
from kafka_etl.record import Partition
from kafka_etl.runtime.messages import Snapshot, Standing
from kafka_etl.runtime.worker.standing import StandingKeeper


class Keeper:
    """Looks at a source that is at these positions."""

    def __init__(self) -> None:
        self._keeper = StandingKeeper()

    def look(self, positions: Mapping[Partition, Position], now_ms: int) -> Standing:
        return self._keeper.look(SimpleNamespace(positions=lambda: positions), now_ms)


A, B = Partition("orders", 0), Partition("orders", 1)


def test_the_partition_furthest_behind_counts() -> None:
    positions = {A: Position(90, 100, 5_000), B: Position(40, 50, 3_000)}
    assert Keeper().look(positions, 9_000) == Standing(2, 20, 3_000)


def test_one_without_lag_is_not_behind_however_old_its_last_record_is() -> None:
    positions = {A: Position(90, 100, 5_000), B: Position(50, 50, 10)}
    assert Keeper().look(positions, 9_000) == Standing(2, 10, 5_000)
    assert Keeper().look({B: Position(50, 50, 10)}, 9_000) == Standing(1, 0, None)


def test_lag_of_a_partition_that_was_never_read_grows_from_when_it_was_seen() -> None:
    """A pipeline that was paused from the start looked as if it were up to date."""
    keeper = Keeper()
    assert keeper.look({A: Position(0, None, -1)}, 1_000) == Standing(1, None, None)
    assert keeper.look({A: Position(0, 10, -1)}, 2_000) == Standing(1, 10, 2_000)
    assert keeper.look({A: Position(0, 12, -1)}, 60_000) == Standing(1, 12, 2_000)
    assert keeper.look({A: Position(5, 12, 300)}, 61_000) == Standing(1, 7, 300)


def test_a_record_after_a_quiet_week_is_not_a_week_late() -> None:
    week = 7 * 86_400_000
    keeper = Keeper()
    keeper.look({A: Position(50, 50, 1_000)}, week)
    assert keeper.look({A: Position(50, 51, 1_000)}, week + 500) == Standing(1, 1, week)
    assert keeper.look({A: Position(51, 52, week + 400)}, week + 900) == Standing(1, 1, week + 400)


def test_a_partition_that_left_is_forgotten() -> None:
    keeper = Keeper()
    keeper.look({A: Position(50, 50, -1), B: Position(0, 1, -1)}, 1_000)
    assert keeper.look({}, 2_000) == Standing()
    back = {A: Position(50, 60, -1), B: Position(0, 1, -1)}
    assert keeper.look(back, 9_000) == Standing(2, 11, 9_000)


def test_lag_is_unknown_when_that_of_one_partition_is() -> None:
    positions = {A: Position(90, 100, 5_000), B: Position(40, None, -1)}
    assert Keeper().look(positions, 9_000) == Standing(2, None, 5_000)


@pytest.mark.parametrize(
    ("standings", "whole"),
    [
        ([], Standing()),
        ([Standing()], Standing()),
        ([Standing(2, 10, 5_000), Standing(1, 0, None)], Standing(3, 10, 5_000)),
        ([Standing(2, 10, 5_000), Standing(1, 5, 4_000)], Standing(3, 15, 4_000)),
        ([Standing(2, 10, 5_000), Standing()], Standing(2, 10, 5_000)),
        ([Standing(2, 10, 5_000), Standing(1, None, None)], Standing(3, None, 5_000)),
    ],
)
def test_workers_add_up(standings: list[Standing], whole: Standing) -> None:
    assert Standing.of_all(standings) == whole


def test_what_the_daemon_is_told_of_ten_thousand_partitions_is_small() -> None:
    """It was 381 KiB, more than the buffer of a socket, and held the daemon up for 24 ms."""
    positions = {Partition("orders", n): Position(2**40, 2**41, 2**41) for n in range(10_000)}
    snapshot = Snapshot("running", 0, standing=Keeper().look(positions, 2**41))
    assert len(pickle.dumps(snapshot)) < 1_000
