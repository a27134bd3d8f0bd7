"""Whatever mixture of records and operators: all outputs of a record, or one failure; in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.engine.rows.mapping import FAILED, map_each
from kafka_etl.invocation import Condition
from kafka_etl.testing import StoredRecord
from tests.property.fates import Fate, Form, Operators, expected, fates, forms
from tests.unit.engine.kit import Ran, chain_of, run

CONDITIONS = {
    "bad": Condition.OPERATOR_ERROR,
    "unencodable": Condition.ENCODE_ERROR,
    "broken": Condition.DECODE_ERROR,
    "flaky": Condition.OPERATOR_ERROR,
}


def ran(written: list[Fate], chosen: list[Form]) -> Ran:
    records = [
        StoredRecord(fate.value(number), b"%d" % number, offset=number)
        for number, fate in enumerate(written)
    ]
    return run(chain_of(*Operators(chosen)), *records)


@given(st.lists(fates, min_size=1, max_size=30), forms)
def test_a_record_has_all_of_its_outputs_or_one_failure(
    written: list[Fate], chosen: list[Form]
) -> None:
    done = ran(written, chosen)
    assert done.origins == sorted(done.origins)
    for number, fate in enumerate(written):
        made = done.origins.count(number)
        if number in done.failed:
            assert made == 0
            assert done.conditions[number] is CONDITIONS[fate.kind]
        else:
            assert fate.kind not in CONDITIONS or fate.kind == "flaky"
            assert made == expected(fate, chosen)


@given(st.lists(fates, min_size=1, max_size=30), forms)
def test_outputs_keep_the_key_and_the_fields_of_their_record(
    written: list[Fate], chosen: list[Form]
) -> None:
    done = ran(written, chosen)
    assert done.outputs.keys == [b"%d" % origin for origin in done.origins]
    for origin, value in zip(done.origins, done.outputs.values, strict=True):
        assert (value is None) == (written[origin].kind == "null")
        assert value is None or orjson.loads(value)["id"] == origin
    assert done.outputs.size == sum(len(value or b"") for value in done.outputs.values)


@given(st.lists(fates, min_size=1, max_size=30))
def test_record_by_record_nothing_flaky_fails(written: list[Fate]) -> None:
    """Two failures at most, and three attempts."""
    few = [Fate(f.kind, f.stage, min(f.count, 2)) for f in written]
    done = ran(few, ["value", "record"])
    assert {few[number].kind for number in done.failed} <= {"bad", "unencodable", "broken"}
    assert done.outcome.dropped == sum(fate.kind == "drop" for fate in few)


@given(st.lists(st.sampled_from([ValueError, SystemExit, StopIteration, None]), max_size=50))
def test_mapping_is_what_a_plain_loop_would_do(raised: list[Any]) -> None:
    results, failed = map_each(_raising, len(raised), raised, range(len(raised)))
    assert results == [number if error is None else FAILED for number, error in enumerate(raised)]
    assert [row for row, _ in failed] == [n for n, error in enumerate(raised) if error is not None]


def _raising(error: Callable[[], BaseException] | None, number: int) -> int:
    if error is not None:
        raise error()
    return number
