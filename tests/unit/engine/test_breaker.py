"""The breaker: which slice it stops, after which records, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.engine.poison.breaker import Breaker, BreakerLimits, Counted
from kafka_etl.engine.poison.kinds import Kinds
from kafka_etl.envelope import fingerprint_of_failure
from kafka_etl.invocation import Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.testing import StoredRecord


def failures(*indices: int, error: str = "E") -> list[Failure]:
    return [Failure(i, Condition.OPERATOR_ERROR, ErrorInfo(error, "m")) for i in indices]


def breaker_of(max_consecutive: int = 10**9, kinds: Kinds | None = None, **limits: Any) -> Breaker:
    return Breaker(BreakerLimits(max_consecutive, **limits), kinds)


def trips(breaker: Breaker, count: int, failed: Sequence[Failure] = ()) -> bool:
    """Whether a slice of `count` records trips."""
    records = [StoredRecord(b"", offset=offset) for offset in range(count)]
    return breaker.trips(records, failed)


# In a row


def test_it_trips_when_so_many_fail_in_a_row() -> None:
    breaker = breaker_of(3)
    assert not trips(breaker, 4, failures(0, 1, 3))
    assert trips(breaker, 2, failures(0, 1))


@pytest.mark.parametrize(("bad", "stops"), [((0, 1), False), ((1, 2, 3), True), ((0, 2, 4), False)])
def test_a_success_between_them_starts_the_count_anew(bad: tuple[int, ...], *, stops: bool) -> None:
    assert trips(breaker_of(3), 5, failures(*bad)) is stops


def test_the_count_goes_on_over_slices() -> None:
    breaker = breaker_of(3)
    assert not trips(breaker, 5, failures(3, 4))
    assert trips(breaker, 5, failures(0))


def test_a_success_at_the_end_of_a_slice_ends_the_run() -> None:
    breaker = breaker_of(3)
    assert not trips(breaker, 3, failures(0, 1))
    assert not trips(breaker, 2, failures(0, 1))
    assert not trips(breaker, 5)
    assert not trips(breaker, 2, failures(0, 1))


def test_resuming_lets_one_run_pass_and_counts_anew() -> None:
    breaker = breaker_of(2)
    assert trips(breaker, 2, failures(0, 1))
    breaker.let_pass()
    assert not trips(breaker, 2, failures(0, 1))
    assert not trips(breaker, 1, failures(0))
    assert trips(breaker, 1, failures(0))


def test_the_pass_waits_for_the_next_run() -> None:
    breaker = breaker_of(2)
    breaker.let_pass()
    assert not trips(breaker, 5, failures(1))
    assert not trips(breaker, 2, failures(0, 1))
    assert trips(breaker, 2, failures(0, 1))


def test_what_was_not_committed_is_not_counted_twice() -> None:
    breaker = breaker_of(5)
    assert not trips(breaker, 2, failures(0, 1))
    breaker.committed(breaker.counted)
    for _ in range(3):
        assert not trips(breaker, 2, failures(0, 1))
        breaker.rewind()
    assert not trips(breaker, 2, failures(0, 1))
    assert trips(breaker, 1, failures(0))


def test_a_pass_that_was_not_committed_is_not_used_up() -> None:
    breaker = breaker_of(2)
    breaker.let_pass()
    assert not trips(breaker, 2, failures(0, 1))
    breaker.rewind()
    assert not trips(breaker, 2, failures(0, 1))
    breaker.committed(breaker.counted)
    breaker.rewind()
    assert trips(breaker, 2, failures(0, 1))


def test_a_slice_that_trips_comes_again_and_trips_again() -> None:
    breaker = breaker_of(3)
    assert not trips(breaker, 2, failures(0, 1))
    assert trips(breaker, 1, failures(0))
    assert trips(breaker, 1, failures(0))


# The share of a window


def test_it_trips_when_the_share_of_a_window_is_reached() -> None:
    breaker = breaker_of(max_ratio=0.05, window=100, min_records=100)
    assert not trips(breaker, 1000, failures(*range(0, 1000, 25)))  # 4 of every 100
    assert trips(breaker, 100, failures(10, 20, 30, 40, 50))
    assert breaker.reason() == (
        "5 of the last 100 records failed (`max_ratio: 0.05`), the last of them not yet dead "
        "letters; most often: 5 OperatorError: E: m (first: in[0]@925)"
    )


def test_below_the_least_records_nothing_is_judged() -> None:
    breaker = breaker_of(max_ratio=0.5, window=1000, min_records=100)
    assert not trips(breaker, 99, failures(*range(99)))
    assert trips(breaker, 1)


def test_a_good_record_may_be_the_last_one_needed() -> None:
    breaker = breaker_of(max_ratio=0.5, window=10, min_records=10)
    assert not trips(breaker, 5, failures(*range(5)))
    assert trips(breaker, 50)
    assert "5 of the last 10 records" in breaker.reason()


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = breaker_of(max_ratio=0.5, window=10, min_records=10)
    assert not trips(breaker, 10, failures(0, 1, 2, 3))
    assert not trips(breaker, 8)
    assert not trips(breaker, 4, failures(0, 1, 2, 3))
    assert trips(breaker, 1, failures(0))


def test_a_burst_in_the_middle_of_a_large_slice_is_seen() -> None:
    breaker = breaker_of(max_ratio=0.5, window=100, min_records=100)
    assert trips(breaker, 10_000, failures(*range(4000, 4050)))


def test_resuming_begins_another_window() -> None:
    breaker = breaker_of(max_ratio=0.5, window=10, min_records=10)
    bad = failures(*range(10))
    assert trips(breaker, 10, bad)
    breaker.let_pass()
    assert not trips(breaker, 10, bad)
    assert not trips(breaker, 9, bad[:9])
    assert trips(breaker, 1, bad[:1])


def test_what_is_refused_later_counts_with_the_records_of_its_commit() -> None:
    breaker = breaker_of(max_ratio=0.2, window=100, min_records=10)
    records = [StoredRecord(b"", offset=offset) for offset in range(10)]
    assert not breaker.trips(records, failures(3))
    assert not breaker.trips_anew(records, failures(3))
    assert breaker.counted.records == 10
    assert breaker.trips_anew(records, failures(3, 7))
    assert "2 of the last 10 records" in breaker.reason()


# What it says


def test_no_more_failures_are_told_than_have_failed_in_a_row() -> None:
    breaker = breaker_of(3)
    for _ in range(5):
        trips(breaker, 2, failures(0, error="earlier"))
    assert trips(breaker, 3, failures(0, 1, 2))
    assert breaker.reason() == (
        "3 or more records in a row failed (`max_consecutive: 3`), the last of them not yet dead "
        "letters; most often: 3 OperatorError: E: m (first: in[0]@0)"
    )


def test_the_three_commonest_causes_are_told_with_their_counts() -> None:
    breaker = breaker_of(9)
    order = "ABACABADA"
    bad = [f for i, error in enumerate(order) for f in failures(i, error=error)]
    assert trips(breaker, 9, bad)
    assert breaker.trip is not None
    assert [(cause.error, cause.count) for cause in breaker.trip.causes] == [
        ("A: m", 5),
        ("B: m", 2),
        ("C: m", 1),
    ]


# New kinds


def watching() -> Kinds:
    return Kinds(lambda: True)


def kind(error: str) -> str:
    return fingerprint_of_failure(failures(0, error=error)[0])


def test_a_new_kind_trips_while_new_kinds_are_watched() -> None:
    kinds = watching()
    kinds.learn([kind("old")])
    breaker = breaker_of(kinds=kinds, new_kinds="1h")
    assert not trips(breaker, 3, failures(0, 1, error="old"))
    assert trips(breaker, 3, [*failures(0, error="old"), *failures(2, error="new")])
    assert breaker.trip is not None
    assert breaker.trip.limit == "new_kinds_within"
    assert [cause.fingerprint for cause in breaker.trip.causes] == [kind("new")]
    assert "never had, within 1h of a change" in breaker.reason()


def test_a_kind_is_known_once_its_dead_letter_is_committed() -> None:
    told: list[DeadLetter] = []
    kinds = Kinds(lambda: True, told.append)
    letter = DeadLetter(StoredRecord(b""), failures(0)[0], "id", 0)
    kinds.committed(letter)
    kinds.committed(letter)
    assert told == [letter]
    assert not trips(breaker_of(kinds=kinds), 1, failures(0))


def test_resuming_accepts_the_kinds_it_tripped_at_and_no_others() -> None:
    breaker = breaker_of(2, kinds=watching())
    assert trips(breaker, 1, failures(0, error="A"))
    breaker.let_pass()
    assert not trips(breaker, 1, failures(0, error="A"))
    assert trips(breaker, 3, failures(2, error="B"))
    breaker.let_pass()
    assert trips(breaker, 2, failures(0, 1, error="A")), "no pass for what was not reached"


def test_a_slice_that_reaches_two_limits_passes_both_after_one_resume() -> None:
    breaker = breaker_of(2, kinds=watching())
    assert trips(breaker, 2, failures(0, 1))
    breaker.let_pass()
    assert not trips(breaker, 2, failures(0, 1))


def test_a_trip_does_not_stand_once_another_worker_has_the_kind_as_a_dead_letter() -> None:
    kinds = watching()
    breaker = breaker_of(2, kinds=kinds)
    assert trips(breaker, 3, [*failures(0, error="A"), *failures(2, error="B")])
    kinds.learn([kind("A")])
    assert breaker.still_trips
    kinds.learn([kind("B")])
    assert not breaker.still_trips
    assert trips(breaker, 2, failures(0, 1, error="A"))
    assert breaker.still_trips, "too many in a row are too many of any kind"


def test_while_nobody_watches_a_new_kind_passes() -> None:
    assert not trips(breaker_of(), 1, failures(0))


# Properties


FATES = st.lists(st.booleans(), max_size=60)
LIMITS = st.builds(
    lambda row, ratio, least, more: BreakerLimits(row, ratio, least + more, least),
    st.integers(1, 8),
    st.none() | st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    st.integers(1, 10),
    st.integers(0, 20),
)


def slices(fates: Sequence[bool], cuts: Iterable[int]) -> Iterable[Sequence[bool]]:
    bounds = sorted({0, len(fates), *(cut for cut in cuts if cut < len(fates))})
    return [fates[a:b] for a, b in pairwise(bounds)]


def bad_of(fates: Sequence[bool]) -> list[Failure]:
    return failures(*(i for i, good in enumerate(fates) if not good))


def first_reached(fates: Sequence[bool], limits: BreakerLimits) -> int | None:
    """The record at which a limit is reached, by counting every record anew."""
    for end in range(1, len(fates) + 1):
        row = fates[max(0, end - limits.max_consecutive) : end]
        if len(row) == limits.max_consecutive and not any(row):
            return end - 1
        last = fates[max(0, end - limits.window) : end]
        if limits.max_ratio is None or end < limits.min_records:
            continue
        if last.count(False) / len(last) >= limits.max_ratio:
            return end - 1
    return None


@given(FATES, LIMITS, st.lists(st.integers(1, 60)))
def test_the_slice_trips_that_has_the_record_at_which_a_limit_is_reached(
    fates: list[bool], limits: BreakerLimits, cuts: list[int]
) -> None:
    breaker, begin = Breaker(limits), 0
    reached = first_reached(fates, limits)
    for part in slices(fates, cuts):
        stops = trips(breaker, len(part), bad_of(part))
        assert stops is (reached is not None and reached < begin + len(part))
        begin += len(part)
        if stops:
            return


@given(FATES, LIMITS, st.lists(st.integers(1, 60)), st.data())
def test_after_a_rewind_the_same_records_have_the_same_answers(
    fates: list[bool], limits: BreakerLimits, cuts: list[int], data: st.DataObject
) -> None:
    straight, rewound = Breaker(limits), Breaker(limits)
    for part in slices(fates, cuts):
        answer = trips(straight, len(part), bad_of(part))
        for _ in range(data.draw(st.integers(0, 2))):
            trips(rewound, len(part), bad_of(part))
            rewound.rewind()
        assert trips(rewound, len(part), bad_of(part)) is answer
        assert rewound.counted == straight.counted
        if answer:
            assert rewound.reason() == straight.reason()
            for breaker in (straight, rewound):
                breaker.let_pass()
        rewound.committed(rewound.counted)


def test_at_the_start_nothing_is_counted() -> None:
    assert breaker_of().counted == Counted()
