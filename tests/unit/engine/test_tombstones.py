"""A null value passes by unchanged, unless an operator asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl import DROP, Permanent, Record
from tests.unit.engine.kit import chain_of, run


def test_a_tombstone_passes_by_in_its_place() -> None:
    def op(value: int) -> int:
        return value + 1

    ran = run(op, 1, None, 3, None)
    assert ran.values == [2, None, 4, None]
    assert ran.origins == [0, 1, 2, 3]
    assert ran.outputs.keys == [b"k0", b"k1", b"k2", b"k3"]


def test_a_tombstone_passes_by_drops_failures_and_multiples() -> None:
    def op(value: int) -> Any:
        if value == 1:
            return DROP
        if value == 2:
            raise Permanent
        return [value, value]

    ran = run(op, 1, None, 2, None, 3)
    assert ran.values == [None, None, 3, 3]
    assert ran.origins == [1, 3, 4, 4]
    assert list(ran.failed) == [2]


@pytest.mark.parametrize("kind", [dict, bytes, str, list, Any])
def test_whatever_an_operator_takes_it_may_ask_for_null_values(kind: Any) -> None:
    def op(value):
        return {"null": value is None}

    op.__annotations__["value"] = kind | None if kind is not Any else Any | None
    assert run(op, None).values == [{"null": True}]


def test_a_record_operator_is_spared_them_too() -> None:
    def op(record: Record) -> Record:
        raise AssertionError

    assert run(op, None).values == [None]


def test_a_record_operator_may_ask_for_them() -> None:
    def op(record: Record | None) -> Record:
        assert record is not None
        return record.replace(value={"key": record.key.decode(), "was": record.value})

    assert run(op, None, 5).values == [{"key": "k0", "was": None}, {"key": "k1", "was": 5}]


def test_an_operator_can_make_one() -> None:
    def op(record: Record) -> Record:
        return record.tombstone() if record.value == 1 else record

    def after(value: int) -> int:
        return value + 1

    ran = run(chain_of(op, after), 0, 1, 2)
    assert ran.values == [1, None, 3]
    assert ran.outputs.keys == [b"k0", b"k1", b"k2"]


def test_a_batch_operator_sees_the_stretches_between_them() -> None:
    calls: list[list[int]] = []

    def op(values: list[int]) -> list[int]:
        calls.append(values)
        return [value * 2 for value in values]

    ran = run(op, None, 1, 2, None, 3)
    assert ran.values == [None, 2, 4, None, 6]
    assert ran.origins == [0, 1, 2, 3, 4]
    assert calls == [[1, 2], [3]]


def test_a_batch_operator_may_ask_for_them() -> None:
    def op(values: list[int | None]) -> list[str]:
        return [repr(value) for value in values]

    assert run(op, None, 1).values == ["None", "1"]


def test_an_empty_value_is_no_tombstone() -> None:
    def op(value: bytes) -> bytes:
        return b"seen:" + value

    assert run(op, b"", None).outputs.values == [b"seen:", None]
