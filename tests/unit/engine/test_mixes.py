"""Operators that mix rows: never split, and their outputs belong to all records of the slice."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl import Permanent, Record, RecordErrors, operator
from kafka_etl.codecs import JSON, TEXT
from kafka_etl.invocation import SHARED, Condition
from tests.unit.engine.kit import bound, chain_of, records, run


@operator(mixes=True)
def total(values: list[int]) -> list[int]:
    return [sum(values)]


def test_outputs_belong_to_all_records() -> None:
    ran = run(total, 1, 2, 3)
    assert (ran.values, ran.origins, ran.outputs.keys) == ([6], [SHARED], [None])


def test_as_many_outputs_as_records_belong_to_all_as_well() -> None:
    @operator(mixes=True)
    def ordered(values: list[int | None]) -> list[int | None]:
        return sorted(values, key=lambda value: value or 0)

    assert run(ordered, 3, 1, 2).origins == [SHARED] * 3
    nulls_first = run(bound(ordered), None, 1)
    assert nulls_first.origins == []
    assert len(nulls_first.failed) == 2  # None is no output, and it is nobody's alone


def test_a_failure_is_every_records_and_nothing_is_split() -> None:
    calls: list[int] = []

    @operator(mixes=True)
    def op(values: list[int]) -> list[int]:
        calls.append(len(values))
        raise Permanent("no")

    ran = run(op, 1, 2, 3)
    assert calls == [3]
    assert ran.failed == dict.fromkeys(range(3), "kafka_etl.errors.Permanent: no")


def test_a_passing_fault_is_tried_again_with_all_of_them() -> None:
    calls: list[int] = []

    @operator(mixes=True)
    def op(values: list[int]) -> list[int]:
        calls.append(len(values))
        if len(calls) < 3:
            raise OSError
        return [sum(values)]

    ran = run(op, 1, 2, 3)
    assert (ran.values, ran.failed, ran.waits, calls) == ([6], {}, [1, 2], [3, 3, 3])


def test_a_failure_after_it_is_every_records() -> None:
    def after(value: int) -> int:
        raise Permanent("after")

    ran = run(chain_of(total, after), 1, 2)
    assert ran.failed == dict.fromkeys(range(2), "kafka_etl.errors.Permanent: after")
    assert ran.values == []


def test_a_passing_fault_after_it_starts_from_the_beginning() -> None:
    seen: list[int] = []

    def after(value: int) -> int:
        seen.append(value)
        if len(seen) == 1:
            raise OSError
        return value

    ran = run(chain_of(total, after), 1, 2)
    assert (ran.values, seen, ran.waits) == ([3], [3, 3], [1])


def test_an_output_that_cannot_be_encoded_is_every_records() -> None:
    @operator(mixes=True)
    def op(values: list[int]) -> list[Any]:
        return [{1, 2}]

    ran = run(op, 1, 2)
    assert {f.condition for f in ran.outcome.failed} == {Condition.ENCODE_ERROR}
    assert len(ran.failed) == 2


def test_a_record_that_fails_before_it_fails_alone() -> None:
    def check(value: int) -> int:
        if value == 2:
            raise Permanent("two")
        return value

    ran = run(chain_of(check, total), 1, 2, b"{", 3)
    assert ran.values == [4]
    assert list(ran.failed) == [1, 2]


def test_a_passing_fault_before_it_makes_all_wait() -> None:
    """Its outputs would miss that record for good."""
    seen: list[int] = []

    def flaky(value: int) -> int:
        seen.append(value)
        if seen.count(2) == 1 and value == 2:
            raise OSError
        return value

    ran = run(chain_of(flaky, total), 1, 2, 3)
    assert (ran.values, ran.waits) == ([6], [1])
    assert seen == [1, 2, 3, 1, 2, 3]


def test_bad_records_can_be_named() -> None:
    @operator(mixes=True)
    def op(values: list[int]) -> list[int]:
        bad = {row: ValueError(value) for row, value in enumerate(values) if value < 0}
        if bad:
            raise RecordErrors(bad)
        return [sum(values)]

    ran = run(op, 1, -2, 3)
    assert (ran.values, list(ran.failed)) == ([4], [1])


def test_keys_it_sets_last() -> None:
    @operator(mixes=True)
    def count(values: list[int]) -> list[Record]:
        return [Record(len(values), key=b"count"), Record(0, key=b"zero")]

    def twice(value: int) -> list[int]:
        return [value, value]

    def fresh(values: list[Record]) -> list[Record]:
        return [Record(1)]

    assert run(chain_of(count, twice), 5, 6).outputs.keys == [b"count"] * 2 + [b"zero"] * 2
    assert run(chain_of(count, fresh), 5, 6).outputs.keys == [None]


@pytest.mark.parametrize("codec", [TEXT, JSON])
def test_records_it_passes_on_keep_the_bytes_of_their_keys(codec: Any) -> None:
    @operator(mixes=True)
    def newest_first(rows: list[Record]) -> list[Record]:
        return sorted(rows, key=lambda row: -row.value)

    given = records(1, 2, 3)
    for record in given:
        record._key = b' "%s" ' % record.key()
    ran = run(chain_of(newest_first, key=codec), *given)
    assert ran.values == [3, 2, 1]
    assert ran.outputs.keys == [b' "k2" ', b' "k1" ', b' "k0" ']


def test_tombstones_pass_by_and_come_last() -> None:
    ran = run(total, 1, None, 2)
    assert (ran.values, ran.origins) == ([3, None], [SHARED, 1])
    assert ran.outputs.keys == [None, b"k1"]


def test_without_a_value_it_is_not_called() -> None:
    @operator(mixes=True)
    def op(values: list[int]) -> list[int]:
        raise AssertionError

    assert run(op, None).values == [None]
