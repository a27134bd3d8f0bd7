from __future__ import annotations

import pytest

from kafka_etl.engine.stream.pace import Pace


def test_a_pipeline_begins_with_one_record_and_full_batches() -> None:
    pace = Pace(1000, 1.0)
    assert (pace.slice_size, pace.limit) == (1, 1000)
    assert not pace.reduced


def test_a_failed_commit_halves_the_batch_that_failed() -> None:
    pace = Pace(1000, 1.0)
    pace.failed(600)
    assert pace.limit == 300
    pace.failed(300)
    assert pace.limit == 150
    assert pace.reduced


def test_it_never_comes_to_nothing() -> None:
    pace = Pace(1000, 1.0)
    for _ in range(20):
        pace.failed(1)
    assert pace.limit == 1


def test_a_commit_without_records_says_nothing_about_sizes() -> None:
    pace = Pace(1000, 1.0)
    pace.failed(0)
    assert pace.limit == 1000


def test_success_doubles_up_to_the_most() -> None:
    pace = Pace(1000, 1.0)
    pace.failed(400)
    limits = []
    for _ in range(4):
        pace.succeeded()
        limits.append(pace.limit)
    assert limits == [400, 800, 1000, 1000]


def test_slices_grow_with_proven_speed() -> None:
    pace = Pace(10_000, 1.0)
    sizes = []
    for _ in range(5):
        pace.ran(pace.slice_size, pace.slice_size * 1e-5)
        sizes.append(pace.slice_size)
    assert sizes == [4, 16, 64, 256, 1024]


def test_slices_stay_near_the_time_they_may_take() -> None:
    pace = Pace(10_000, 0.5)
    for _ in range(10):
        pace.ran(pace.slice_size, pace.slice_size * 0.01)
    assert pace.slice_size == 50


def test_a_slow_slice_shrinks_the_next_at_once() -> None:
    pace = Pace(10_000, 1.0)
    for _ in range(6):
        pace.ran(pace.slice_size, 0)
    pace.ran(pace.slice_size, 100)
    assert pace.slice_size == 4096 // 100


@pytest.mark.parametrize("seconds", [0, 1e-9, 3600, 1e9])
def test_there_is_always_one_record(seconds: float) -> None:
    pace = Pace(10, 1.0)
    pace.ran(1, seconds)
    assert pace.slice_size >= 1


def test_the_rest_of_a_batch_does_not_make_slices_grow() -> None:
    pace = Pace(10_000, 1.0)
    pace.ran(1, 0)
    pace.ran(3, 0)
    assert pace.slice_size == 4


def test_a_slice_is_never_smaller_than_what_is_run_at_once() -> None:
    pace = Pace(1000, 1.0, smallest=64)
    assert pace.slice_size == 64
    pace.ran(64, 20.0)
    assert pace.slice_size == 64
    pace.ran(64, 0.1)
    assert pace.slice_size == 256
