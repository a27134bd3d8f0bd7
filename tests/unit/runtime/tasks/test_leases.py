"""Leases of a keeper."""

from __future__ import annotations

import pytest

from kafka_etl.runtime.tasks.keeper.leases import Leases
from kafka_etl.tasks.keeping import Acknowledged, Instant

WALL = 1_000_000.0


def at(seconds: float, jump: float = 0.0) -> Instant:
    return Instant(seconds, WALL + seconds + jump)


def test_a_grant_has_a_lease_of_its_own() -> None:
    leases = Leases(60.0)
    assert not leases.is_over(0, at(10), at(55))
    assert leases.is_over(0, at(10), at(55.1))


def test_a_list_that_was_acknowledged_renews_the_lease_from_the_moment_of_its_saying() -> None:
    leases = Leases(60.0)
    number = leases.say(0, at(40))
    assert leases.is_over(0, at(0), at(50))  # not acknowledged yet
    leases.acknowledge(Acknowledged("", 0, number))
    assert not leases.is_over(0, at(0), at(85))
    assert leases.is_over(0, at(0), at(85.1))


def test_a_partition_that_is_not_heard_has_no_lease_from_another() -> None:
    leases = Leases(60.0)
    leases.acknowledge(Acknowledged("", 1, leases.say(1, at(40))))
    assert leases.is_over(0, at(0), at(50))


def test_an_acknowledgement_that_comes_late_takes_nothing_back() -> None:
    leases = Leases(60.0)
    first, second = leases.say(0, at(10)), leases.say(0, at(20))
    leases.acknowledge(Acknowledged("", 0, second))
    leases.acknowledge(Acknowledged("", 0, first))
    assert not leases.is_over(0, at(0), at(65))


@pytest.mark.parametrize(("jump", "is_over"), [(60.0, True), (-3600.0, False)])
def test_a_wall_clock_that_is_ahead_counts(jump: float, *, is_over: bool) -> None:
    assert Leases(60.0).is_over(0, at(0), at(1, jump)) is is_over


def test_lists_that_nobody_acknowledges_are_forgotten() -> None:
    leases = Leases(60.0)
    for second in range(10_000):
        number = leases.say(0, at(second))
    leases.acknowledge(Acknowledged("", 0, 1))
    assert leases.is_over(0, at(0), at(9_999))
    leases.acknowledge(Acknowledged("", 0, number))
    assert not leases.is_over(0, at(0), at(10_000))
