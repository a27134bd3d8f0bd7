from __future__ import annotations

import json
from typing import cast

import pytest

from kafka_etl.errors import Permanent, Retry
from kafka_etl.retry import NEVER, Backoff, RetryPolicy


def one() -> float:
    return 1.0


def waits(policy: RetryPolicy, error: BaseException, attempts: int = 6) -> list[float | None]:
    return [policy.wait_before_next(error, attempt, one) for attempt in range(1, attempts + 1)]


def test_waits_grow_by_the_factor_up_to_the_most() -> None:
    policy = RetryPolicy(max_attempts=6, backoff=Backoff(initial=1, factor=3, max=20))
    assert waits(policy, OSError()) == [1, 3, 9, 20, 20, None]


def test_waits_do_not_overflow_after_many_attempts() -> None:
    backoff = Backoff(initial=0.2, factor=100, max=30)
    assert backoff.delay(1000, one) == 30


def test_jitter_takes_a_random_part() -> None:
    backoff = Backoff(initial=8, jitter="full")
    assert backoff.delay(1, lambda: 0.25) == 2
    assert backoff.delay(1, lambda: 0.0) == 0
    assert Backoff(initial=8, jitter="none").delay(1, lambda: 0.25) == 8


@pytest.mark.parametrize("cls", NEVER)
def test_what_says_something_about_the_record_is_not_tried_again(
    cls: type[BaseException],
) -> None:
    assert waits(RetryPolicy(), cls()) == [None] * 6


def test_subclasses_are_not_either() -> None:
    error = json.JSONDecodeError("", "", 0)
    assert RetryPolicy().wait_before_next(error, 1, one) is None


@pytest.mark.parametrize("error", [OSError(), TimeoutError(), ConnectionError(), RuntimeError()])
def test_all_else_is(error: Exception) -> None:
    assert RetryPolicy().wait_before_next(error, 1, one) is not None


def test_further_classes_can_be_named() -> None:
    policy = RetryPolicy(never=(*NEVER, ConnectionError))
    assert policy.wait_before_next(ConnectionResetError(), 1, one) is None
    assert policy.wait_before_next(TimeoutError(), 1, one) is not None


def test_only_leaves_nothing_else() -> None:
    policy = RetryPolicy(only=(ConnectionError,))
    assert policy.wait_before_next(ConnectionResetError(), 1, one) is not None
    assert policy.wait_before_next(TimeoutError(), 1, one) is None


def test_only_means_what_it_names_though_it_is_not_tried_by_default() -> None:
    policy = RetryPolicy(only=(ValueError,))
    assert policy.wait_before_next(json.JSONDecodeError("", "", 0), 1, one) is not None
    assert policy.wait_before_next(KeyError(), 1, one) is None


def test_the_class_nearest_to_the_errors_own_decides() -> None:
    policy = RetryPolicy(only=(Exception,), never=(*NEVER, ConnectionResetError))
    assert policy.wait_before_next(ConnectionResetError(), 1, one) is None
    assert policy.wait_before_next(ConnectionError(), 1, one) is not None
    assert policy.wait_before_next(TypeError(), 1, one) is None
    assert policy.wait_before_next(Permanent(), 1, one) is None


def test_retry_is_always_tried_again_while_attempts_last() -> None:
    policy = RetryPolicy(max_attempts=3, only=(OSError,), never=(*NEVER, Exception))
    assert waits(policy, Retry(after=7), 3) == [7, 7, None]


def test_a_retry_after_nothing_is_at_once() -> None:
    assert RetryPolicy().wait_before_next(Retry(after=0), 1, one) == 0


def test_one_attempt_is_no_retry() -> None:
    assert RetryPolicy(max_attempts=1).wait_before_next(Retry(), 1, one) is None


class Whenever(Retry):
    """Whose `after` cannot be had."""

    @property
    def after(self) -> float:  # type: ignore[override]
        raise RuntimeError

    @after.setter
    def after(self, _after: object) -> None: ...


@pytest.mark.parametrize(
    ("after", "expected"),
    [(86400, 300), (300, 300), (0.5, 0.5), (float("inf"), 300), (10**400, 300)],
)
def test_a_retry_waits_five_minutes_at_most(after: float, expected: float) -> None:
    assert RetryPolicy().wait_before_next(Retry(after=after), 1, one) == expected


@pytest.mark.parametrize(
    "error",
    [
        Retry(after=float("nan")),
        Retry(after=-1),
        Retry(after=True),
        Retry(after=cast("float", "soon")),
        Retry(after=cast("float", [])),
        Whenever(),
    ],
)
def test_a_retry_after_no_time_at_all_waits_as_ever(error: Retry) -> None:
    policy = RetryPolicy(backoff=Backoff(initial=7, jitter="none"))
    assert policy.wait_before_next(error, 1, one) == 7


def test_an_errors_class_is_asked_not_what_it_says_of_itself() -> None:
    class Lying(ValueError):
        __class__ = property(lambda _self: 1 / 0)  # type: ignore[assignment]

    assert RetryPolicy().wait_before_next(Lying(), 1, one) is None
    assert RetryPolicy(only=(Lying,)).wait_before_next(Lying(), 1, one) is not None
