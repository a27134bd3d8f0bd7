from __future__ import annotations

import pytest

from kafka_etl.engine.poison.breaker import Breaker
from kafka_etl.invocation import Condition, ErrorInfo, Failure


def failures(*indices: int, error: str = "E") -> list[Failure]:
    return [Failure(i, Condition.OPERATOR_ERROR, ErrorInfo(error, "m")) for i in indices]


def test_it_trips_when_so_many_fail_in_a_row() -> None:
    breaker = Breaker(3)
    assert not breaker.trips(4, failures(0, 1, 3))
    assert breaker.trips(2, failures(0, 1))


@pytest.mark.parametrize(("bad", "trips"), [((0, 1), False), ((1, 2, 3), True), ((0, 2, 4), False)])
def test_a_success_between_them_starts_the_count_anew(bad: tuple[int, ...], *, trips: bool) -> None:
    assert Breaker(3).trips(5, failures(*bad)) is trips


def test_the_count_goes_on_over_slices() -> None:
    breaker = Breaker(3)
    assert not breaker.trips(5, failures(3, 4))
    assert breaker.trips(5, failures(0))


def test_a_success_at_the_end_of_a_slice_ends_the_run() -> None:
    breaker = Breaker(3)
    assert not breaker.trips(3, failures(0, 1))
    assert not breaker.trips(2, failures(0, 1))
    assert not breaker.trips(5, failures())
    assert not breaker.trips(2, failures(0, 1))


def test_resuming_lets_one_run_pass_and_counts_anew() -> None:
    breaker = Breaker(2)
    assert breaker.trips(2, failures(0, 1))
    breaker.let_pass()
    assert not breaker.trips(2, failures(0, 1))
    assert not breaker.trips(1, failures(0))
    assert breaker.trips(1, failures(0))


def test_letting_pass_lasts_until_it_is_needed() -> None:
    breaker = Breaker(2)
    breaker.let_pass()
    assert not breaker.trips(5, failures(1))
    assert not breaker.trips(2, failures(0, 1))
    assert breaker.trips(2, failures(0, 1))


def test_what_was_not_committed_is_not_counted_twice() -> None:
    breaker = Breaker(5)
    assert not breaker.trips(2, failures(0, 1))
    breaker.committed(breaker.counted)
    for _ in range(3):
        assert not breaker.trips(2, failures(0, 1))
        breaker.rewind()
    assert not breaker.trips(2, failures(0, 1))
    assert breaker.trips(1, failures(0))


def test_a_pass_that_was_not_committed_is_not_used_up() -> None:
    breaker = Breaker(2)
    breaker.let_pass()
    assert not breaker.trips(2, failures(0, 1))
    breaker.rewind()
    assert not breaker.trips(2, failures(0, 1))
    breaker.committed(breaker.counted)
    breaker.rewind()
    assert breaker.trips(2, failures(0, 1))


def test_no_more_errors_are_told_than_have_failed_in_a_row() -> None:
    breaker = Breaker(3)
    for _ in range(5):
        breaker.trips(2, failures(0, error="earlier"))
    assert breaker.trips(3, failures(0, 1, 2))
    assert breaker.reason() == (
        "3 or more records in a row failed, the last of them not yet dead letters; "
        "most often of the last 3: E: m (3 times)"
    )


def test_the_commonest_errors_are_told_with_their_counts() -> None:
    breaker = Breaker(10)
    breaker.trips(3, failures(0, 1, error="A"))
    breaker.trips(3, [*failures(0, error="B"), *failures(1, 2, error="A")])
    assert breaker.reason().endswith(": A: m (4 times); B: m (1 times)")
    breaker.let_pass()
    breaker.trips(1, failures(0, error="C"))
    assert breaker.reason().endswith(": C: m (1 times)")
