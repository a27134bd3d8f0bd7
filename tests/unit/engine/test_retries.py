"""Attempts: what is tried again, when, and from where."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kafka_etl import Context, Permanent, Record, Retry
from kafka_etl.contracts import Abandoned, Codec
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.invocation import Condition, Invocation
from kafka_etl.record import Batch
from kafka_etl.retry import NEVER, Backoff, RetryPolicy
from tests.unit.engine.kit import PATIENT, bound, chain_of, records, run


class Flaky:
    """Fails with `error` for these values, so many times each."""

    def __init__(self, failures: dict[int, int], error: Any = OSError) -> None:
        self.left = dict(failures)
        self.error = error
        self.seen: list[int] = []

    def operator(self) -> Any:
        def op(value: int) -> int:
            self.seen.append(value)
            if self.left.get(value, 0) > 0:
                self.left[value] -= 1
                raise self.error("away") if isinstance(self.error, type) else self.error
            return value

        return op


def test_what_fails_in_passing_is_tried_again() -> None:
    ran = run(Flaky({2: 2}).operator(), 1, 2, 3)
    assert (ran.values, ran.origins, ran.failed) == ([1, 2, 3], [0, 1, 2], {})
    assert ran.waits == [1, 2]


def test_only_the_failed_are_tried_again_and_all_of_them_after_one_wait() -> None:
    flaky = Flaky({1: 1, 3: 2})
    ran = run(flaky.operator(), 0, 1, 2, 3)
    assert flaky.seen == [0, 1, 2, 3, 1, 3, 3]
    assert ran.waits == [1, 2]
    assert ran.values == [0, 1, 2, 3]


def test_when_the_attempts_run_out_the_record_fails_with_its_history() -> None:
    failure = run(Flaky({1: 9}).operator(), 0, 1).failure()
    assert failure.index == 1
    assert failure.condition is Condition.OPERATOR_ERROR
    assert failure.error.type == "OSError"
    assert [attempt.number for attempt in failure.attempts] == [1, 2, 3]
    assert all(attempt.error == "OSError: away" for attempt in failure.attempts)
    times = [(attempt.started_ms, attempt.ended_ms) for attempt in failure.attempts]
    assert all(started < ended for started, ended in times)
    assert times == sorted(times)


@pytest.mark.parametrize("error", [*NEVER, UnicodeDecodeError("utf-8", b"", 0, 1, "")])
def test_errors_of_the_record_or_the_code_are_final(error: Any) -> None:
    ran = run(Flaky({1: 1}, error).operator(), 0, 1)
    assert (list(ran.failed), ran.waits) == ([1], [])
    assert len(ran.failure().attempts) == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_is_not_tried_again(error: type[BaseException]) -> None:
    assert run(Flaky({1: 1}, error).operator(), 1).waits == []


def test_an_escaped_stop_iteration_is_an_exception_like_others() -> None:
    assert run(Flaky({1: 1}, StopIteration).operator(), 1).values == [1]


def test_a_record_is_tried_again_from_its_source_bytes() -> None:
    """Operators change what they are given; the next attempt must not see it."""
    seen: list[Any] = []

    def mutate(value: dict) -> dict:
        seen.append(copy.deepcopy(value))
        value["items"].append("mine")
        value["touched"] = True
        if len(seen) == 1:
            raise OSError
        return value

    ran = run(mutate, {"items": []})
    assert seen == [{"items": []}, {"items": []}]
    assert ran.values == [{"items": ["mine"], "touched": True}]


def test_so_do_the_operators_before_the_one_that_failed() -> None:
    calls: list[str] = []

    def first(record: Record) -> Record:
        calls.append(f"first {record.value}")
        record.value["n"] += 1
        return record.replace(headers=[*record.headers, ("seen", b"1")])

    def second(record: Record) -> dict:
        calls.append(f"second {record.value} {len(record.headers)}")
        if len(calls) == 2:
            raise OSError
        return record.value

    ran = run(chain_of(first, second), {"n": 0})
    assert calls == ["first {'n': 0}", "second {'n': 1} 1"] * 2
    assert ran.values == [{"n": 1}]


def test_a_batch_that_is_split_starts_from_source_bytes_as_well() -> None:
    def op(values: list[dict]) -> list[dict]:
        for value in values:
            value["touched"] = value.get("touched", 0) + 1
        if any(value["n"] == 3 for value in values):
            raise Permanent
        return values

    ran = run(op, *({"n": n} for n in range(8)))
    assert all(value["touched"] == 1 for value in ran.values)
    assert list(ran.failed) == [3]


def test_retry_asks_for_another_attempt_and_says_when() -> None:
    ran = run(Flaky({1: 2}, Retry("busy", after=0.5)).operator(), 1)
    assert (ran.values, ran.waits) == ([1], [0.5, 0.5])


def test_retry_without_a_time_waits_like_any_error() -> None:
    assert run(Flaky({1: 2}, Retry()).operator(), 1).waits == [1, 2]


def test_retry_does_not_ask_for_ever() -> None:
    ran = run(Flaky({1: 99}, Retry("busy", after=0)).operator(), 1)
    assert ran.failed == {0: "kafka_etl.errors.Retry: busy"}
    assert len(ran.waits) == 2


def test_the_longest_wait_of_a_wave_counts() -> None:
    def op(value: int, context: Context) -> int:
        if context.attempt == 1:
            raise Retry(after=value)
        return value

    assert run(op, 3, 7, 5).waits == [7]


def test_a_retry_class_of_ones_own_may_forget_its_base() -> None:
    class Busy(Retry):
        def __init__(self, shop: str) -> None:
            self.shop = shop

    class Later(Retry):
        after = "tomorrow"  # type: ignore[assignment]

        def __init__(self) -> None:
            pass

    assert run(Flaky({1: 2}, Busy("Rome")).operator(), 1).waits == [1, 2]
    assert run(Flaky({1: 2}, Later()).operator(), 1).waits == [1, 2]


def test_an_operator_may_have_a_policy_of_its_own() -> None:
    def first(value: int) -> int:
        if value == 1:
            raise OSError
        return value

    def second(value: int) -> int:
        if value == 2:
            raise OSError
        return value

    once = RetryPolicy(max_attempts=1)
    ran = run(chain_of(first, second), 1, 2, policies={"second": once})
    assert [len(failure.attempts) for failure in ran.outcome.failed] == [3, 1]
    assert [failure.operator for failure in ran.outcome.failed] == ["first", "second"]


def test_decode_and_encode_errors_follow_the_pipelines_policy() -> None:
    """A codec may ask a registry that is away."""
    calls: list[bytes] = []

    def decode(data: bytes) -> Any:
        calls.append(data)
        if len(calls) == 1:
            raise OSError("registry")
        return 1

    def op(value: int) -> int:
        return value

    codec = Codec("asking", decode, lambda value: b"%d" % value)
    ran = run(chain_of(op, value=codec), b"x")
    assert (ran.values, ran.waits) == ([1], [1])


def test_no_more_attempts_than_asked_for_with_one() -> None:
    flaky = Flaky({1: 1})
    ran = run(flaky.operator(), 1, policy=RetryPolicy(max_attempts=1))
    assert (flaky.seen, list(ran.failed), ran.waits) == ([1], [0], [])


def test_the_tracebacks_frames_are_the_users() -> None:
    def inner() -> None:
        raise Permanent("deep")

    def op(value: int) -> int:
        inner()
        return value

    traceback = run(op, 1).failure().error.traceback
    assert [line.rsplit(" ", 1)[-1] for line in traceback.splitlines()] == ["op", "inner"]
    assert "kafka_etl/engine" not in traceback


def test_stopping_in_a_wait_ends_the_invocation() -> None:
    def stop(_seconds: float, _reason: str) -> None:
        raise Abandoned

    chain = chain_of(bound(Flaky({1: 1}).operator()))
    invoker = Invoker(chain, PATIENT, {}, now_ms=lambda: 0, random=lambda: 1.0)
    with pytest.raises(Abandoned):
        invoker.run(Invocation("id", Batch(records(1), {}, {}), 0), stop)


def test_jitter_asks_for_chance_in_each_wait() -> None:
    policy = RetryPolicy(max_attempts=3, backoff=Backoff(initial=1, jitter="full"))
    assert run(Flaky({1: 2}).operator(), 1, policy=policy).waits == [1, 2]  # chance is 1 here
