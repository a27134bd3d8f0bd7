"""Outcomes of the engine as answers of a runner."""

from __future__ import annotations

import pytest

from kafka_etl import Permanent, Retry
from kafka_etl.invocation import Condition, ErrorInfo, Failure, Outcome, Outputs
from kafka_etl.retry import RetryPolicy
from kafka_etl.runtime.tasks.runner.verdicts import (
    Fault,
    OneAttempt,
    Success,
    Verdict,
    conclude,
    rows_of,
)
from kafka_etl.tasks.rows import Row, decode_rows

FAILURE = Failure(0, Condition.OPERATOR_ERROR, ErrorInfo("OSError", "disk", "x" * 10_000))


def one() -> float:
    return 1.0


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (OSError(), Verdict(is_permanent=False)),
        (Permanent(), Verdict(is_permanent=True)),
        (ValueError(), Verdict(is_permanent=True)),
        (SystemExit(), Verdict(is_permanent=True)),
        (Retry(), Verdict(is_permanent=False)),
        (Retry(after=7_200), Verdict(is_permanent=False, retry_after=7_200.0)),
    ],
)
def test_an_error_is_judged_and_never_tried_again(error: BaseException, verdict: Verdict) -> None:
    verdicts: list[Verdict] = []
    policy = OneAttempt.noting(RetryPolicy(max_attempts=1), verdicts)

    assert policy.wait_before_next(error, 1, one) is None
    assert verdicts == [verdict]


def test_a_failed_record_is_a_fault_of_bounded_size() -> None:
    concluded = conclude(Outcome(Outputs(), (FAILURE,)), [Verdict(is_permanent=False)], 100)

    assert isinstance(concluded, Fault)
    assert (concluded.why, concluded.failure.type) == ("error", "OSError")
    assert len(concluded.failure.traceback) == 4_000


def test_outputs_are_rows() -> None:
    outputs = Outputs(
        values=[b"v", None],
        keys=[b"k", None],
        headers=[[("h", b"1")], None],
        timestamps=[5, 0],
        topics=[None, "other"],
    )

    concluded = conclude(Outcome(outputs), [], 1_000)

    assert isinstance(concluded, Success)
    assert decode_rows(concluded.rows) == [
        Row("", b"k", b"v", [("h", b"1")], 5),
        Row("other", None, None, []),
    ]
    assert concluded.preview == "v"


def test_a_result_that_is_too_large_is_a_fault_for_good() -> None:
    outcome = Outcome(Outputs(values=[b"x" * 100], keys=[None]))

    concluded = conclude(outcome, [], 99)

    assert isinstance(concluded, Fault)
    assert (concluded.why, concluded.failure.type) == ("permanent", "RecordTooLarge")


def test_rows_of_a_table_are_refused() -> None:
    with pytest.raises(TypeError, match="tuple"):
        rows_of(Outputs(values=[(1, 2)], keys=[None]))
