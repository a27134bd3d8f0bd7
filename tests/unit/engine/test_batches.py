"""Operators that take a list: origins, null values, and finding the one record to blame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from kafka_etl import DROP, Permanent, Record, RecordErrors
from kafka_etl.invocation import SHARED, Condition
from tests.unit.engine.kit import chain_of, run


class Guilty:
    """A batch operator that fails whenever it is given a bad number."""

    def __init__(self, *bad: int, error: type[BaseException] = ValueError) -> None:
        self.bad = set(bad)
        self.error = error
        self.calls: list[list[int]] = []

    def operator(self) -> Any:
        def op(values: list[int]) -> list[int]:
            self.calls.append(list(values))
            if self.bad & set(values):
                raise self.error("guilty")
            return [value * 10 for value in values]

        return op


def test_a_batch_operator_is_called_once_for_all() -> None:
    guilty = Guilty()
    ran = run(guilty.operator(), 1, 2, 3)
    assert ran.values == [10, 20, 30]
    assert guilty.calls == [[1, 2, 3]]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000])
def test_one_guilty_record_is_found_in_few_calls(count: int) -> None:
    for bad in {0, count // 2, count - 1}:
        guilty = Guilty(bad)
        ran = run(guilty.operator(), *range(count))
        assert ran.failed == {bad: "ValueError: guilty"}
        assert ran.values == [n * 10 for n in range(count) if n != bad]
        assert ran.origins == [n for n in range(count) if n != bad]
        assert len(guilty.calls) <= 2 * math.ceil(math.log2(count)) + 1


def test_a_passing_fault_is_retried_as_a_group_before_it_is_halved() -> None:
    guilty = Guilty(5, error=OSError)
    ran = run(guilty.operator(), *range(64))
    assert ran.waits == [1, 2]
    assert [len(call) for call in guilty.calls[:3]] == [64, 64, 64]
    assert len(guilty.calls) <= 2 * 6 + 3
    assert list(ran.failed) == [5]
    assert [attempt.number for attempt in ran.failure().attempts][-1] == 3


def test_several_guilty_records_are_all_found() -> None:
    guilty = Guilty(1, 2, 8)
    ran = run(guilty.operator(), *range(10))
    assert list(ran.failed) == [1, 2, 8]
    assert ran.values == [0, 30, 40, 50, 60, 70, 90]


def test_when_all_are_guilty_all_fail() -> None:
    ran = run(Guilty(*range(9)).operator(), *range(9))
    assert (list(ran.failed), ran.values) == (list(range(9)), [])


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration])
def test_whatever_is_raised_is_blamed_on_the_record(error: type[BaseException]) -> None:
    ran = run(Guilty(3, error=error).operator(), *range(5))
    assert list(ran.failed) == [3]
    assert ran.failure().condition is Condition.OPERATOR_ERROR
    assert ran.failure().error.type == error.__name__


def test_an_error_that_cannot_be_printed_is_an_error_like_any_other() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    ran = run(Guilty(1, error=Mute).operator(), 0, 1)
    assert (ran.values, list(ran.failed)) == ([0], [1])
    assert "__str__ raised RuntimeError" in ran.failed[1]


# Naming the bad records


def test_named_records_fail_and_the_others_are_run_again_without_them() -> None:
    calls: list[list[int]] = []

    def op(values: list[int]) -> list[int]:
        calls.append(values)
        bad = {row: ValueError(f"bad {v}") for row, v in enumerate(values) if v % 3 == 0}
        if bad:
            raise RecordErrors(bad)
        return values

    ran = run(op, 1, 3, 4, 6)
    assert ran.failed == {1: "ValueError: bad 3", 3: "ValueError: bad 6"}
    assert (ran.values, ran.origins) == ([1, 4], [0, 2])
    assert calls == [[1, 3, 4, 6], [1, 4]]


def test_named_records_with_passing_faults_are_tried_again() -> None:
    calls: list[list[int]] = []

    def op(values: list[int]) -> list[int]:
        calls.append(values)
        if len(calls) == 1:
            raise RecordErrors({1: OSError("away")})
        return values

    ran = run(op, 1, 2, 3)
    assert (ran.values, ran.failed, ran.waits) == ([1, 2, 3], {}, [1])
    assert calls == [[1, 2, 3], [1, 3], [2]]


def test_a_named_record_may_come_with_no_more_than_a_text() -> None:
    def op(values: list[int]) -> list[int]:
        raise RecordErrors(dict.fromkeys(range(len(values)), "bad"))  # type: ignore[misc]

    assert run(op, 1).failed == {0: "kafka_etl.errors.Permanent: bad"}


@pytest.mark.parametrize("rows", [{}, {7: ValueError()}, {-1: ValueError()}, {"a": ValueError()}])
def test_naming_records_that_do_not_exist_is_the_operators_error(rows: Any) -> None:
    def op(values: list[int]) -> list[int]:
        raise RecordErrors(rows)

    ran = run(op, 1, 2)
    assert list(ran.failed) == [0, 1]
    assert "RecordErrors names rows" in ran.failed[0]


def test_rows_count_among_what_the_operator_was_given() -> None:
    def op(values: list[int]) -> list[int]:
        if 3 in values:
            raise RecordErrors({values.index(3): ValueError("three")})
        return values

    ran = run(op, b"{broken", 1, 2, 3)
    assert ran.failed[3] == "ValueError: three"
    assert ran.conditions == {0: Condition.DECODE_ERROR, 3: Condition.OPERATOR_ERROR}
    assert (ran.values, ran.origins) == ([1, 2], [1, 2])


# What came of which record


def test_as_many_outputs_as_records_are_one_for_each() -> None:
    def op(values: list[int]) -> list[Any]:
        return [DROP if value == 2 else value for value in values]

    ran = run(op, 1, 2, 3)
    assert (ran.values, ran.origins, ran.outcome.dropped) == ([1, 3], [0, 2], 1)
    assert ran.outputs.keys == [b"k0", b"k2"]


def test_outputs_without_one_origin_belong_to_all_and_have_no_key() -> None:
    def op(values: list[int]) -> list[int]:
        return [value for value in values if value > 1]

    ran = run(op, 1, 2, 3)
    assert (ran.values, ran.origins, ran.outcome.dropped) == ([2, 3], [SHARED, SHARED], 0)
    assert ran.outputs.keys == [None, None]


def test_records_keep_their_origin_whatever_their_place() -> None:
    def op(records: list[Record]) -> list[Record]:
        return [record for record in records for _ in range(record.value)]

    ran = run(op, 1, 0, 3)
    assert (ran.values, ran.origins) == ([1, 3, 3, 3], [0, 2, 2, 2])
    assert ran.outputs.keys == [b"k0", b"k2", b"k2", b"k2"]
    as_many_by_chance = run(op, 2, 0, 1)
    assert (as_many_by_chance.values, as_many_by_chance.origins) == ([2, 2, 1], [0, 0, 2])
    assert as_many_by_chance.outputs.keys == [b"k0", b"k0", b"k2"]


def test_records_that_are_left_out_are_dropped_and_counted() -> None:
    def op(records: list[Record]) -> list[Record]:
        return [records[2], records[0], records[2]]

    ran = run(op, 1, 2, 3, 4)
    assert (ran.values, ran.origins, ran.outcome.dropped) == ([3, 1, 3], [2, 0, 2], 2)


def test_an_empty_list_drops_the_batch() -> None:
    def op(values: list[int]) -> list[int]:
        return []

    assert run(op, 1, 2).outcome.dropped == 2


def test_records_made_anew_are_told_by_their_place() -> None:
    def op(records: list[Record]) -> list[Record]:
        return [Record(record.value + 1) for record in records]

    ran = run(op, 1, 2)
    assert ran.outputs.keys == [b"k0", b"k1"]


def test_a_generator_is_taken_for_its_list() -> None:
    def op(values: list[int]) -> Iterator[int]:
        for value in values:
            if value == 2:
                raise Permanent
            yield value

    ran = run(op, 1, 2, 3)
    assert (ran.values, list(ran.failed)) == ([1, 3], [1])


@pytest.mark.parametrize("answer", [None, {"a": 1}, "text", 5, (1, 2)])
def test_anything_but_a_list_is_an_error(answer: Any) -> None:
    def op(values: list[int]) -> Any:
        return answer

    ran = run(op, 1, 2)
    assert list(ran.failed) == [0, 1]
    assert "a batch operator returns a list" in ran.failed[0]


def test_a_batch_may_be_dropped_as_a_whole() -> None:
    def op(values: list[int]) -> Any:
        return DROP

    assert run(op, 1, 2).outcome.dropped == 2

    def annotated(values: list[int]) -> list[int] | None:
        return None

    assert run(annotated, 1, 2).outcome.dropped == 2


def test_none_among_outputs_is_blamed_on_its_record() -> None:
    def op(values: list[int]) -> list[Any]:
        return [None if value == 2 else value for value in values]

    ran = run(op, 1, 2, 3)
    assert (ran.values, list(ran.failed)) == ([1, 3], [1])


def test_none_among_outputs_without_origin_is_not_blamed_on_the_first() -> None:
    def op(values: list[int]) -> list[Any]:
        return [None if value == 3 else value for value in values if value != 4]

    ran = run(op, 1, 2, 3, 4)
    assert list(ran.failed) == [2]
    assert sorted(ran.values) == [1, 2]


# In a chain


def test_a_later_failure_of_an_output_of_all_halves_the_group() -> None:
    def join(values: list[int]) -> list[list[int]]:
        return [values]

    def check(value: list) -> int:
        if 3 in value:
            raise Permanent("three")
        return sum(value)

    ran = run(chain_of(join, check), 1, 2, 3, 4)
    assert ran.failed == {2: "kafka_etl.errors.Permanent: three"}
    assert ran.values == [3, 4]


def test_a_later_failure_costs_a_record_that_was_given_back_only_itself() -> None:
    """Docs: operators.md, Batches."""
    seen: list[int] = []

    def distinct(records: list[Record]) -> list[Record]:
        return list({record.value: record for record in records}.values())

    def flaky(value: int) -> int:
        seen.append(value)
        if value == 3:
            raise OSError
        if value == 2 and seen.count(2) == 1:
            raise OSError
        return value

    ran = run(chain_of(distinct, flaky), 1, 2, 1, 3)
    assert (ran.values, list(ran.failed)) == ([2, 1], [3])
    assert ran.outputs.keys == [b"k1", b"k2"]
    assert seen.count(1) == 1, "a record that has passed is not run again"


def test_a_later_failure_of_an_output_of_all_undoes_what_was_left_out() -> None:
    """Docs: operators.md, Batches."""

    def distinct(values: list[int]) -> list[int]:
        return list(dict.fromkeys(values))

    def check(value: int) -> int:
        if value == 3:
            raise Permanent("three")
        return value

    ran = run(chain_of(distinct, check), 1, 2, 1, 3)
    assert (ran.values, list(ran.failed)) == ([1, 2, 1], [3])


def test_record_by_record_and_batch_operators_mix() -> None:
    def split(value: int) -> list[int]:
        return [value, value + 1]

    def double(values: list[int]) -> list[int]:
        return [value * 2 for value in values]

    def odd(value: int) -> int | None:
        return value if value % 4 else None

    ran = run(chain_of(split, double, odd), 1, 2)
    assert (ran.values, ran.origins) == ([2, 6], [0, 1])


def test_order_is_kept_through_retries_and_halves() -> None:
    attempts: dict[int, int] = {}

    def flaky(value: int) -> int:
        attempts[value] = attempts.get(value, 0) + 1
        if value % 3 == 0 and attempts[value] == 1:
            raise OSError
        return value

    guilty = Guilty(7)
    ran = run(chain_of(flaky, guilty.operator()), *range(20))
    assert ran.values == [n * 10 for n in range(20) if n != 7]
    assert ran.origins == [n for n in range(20) if n != 7]
