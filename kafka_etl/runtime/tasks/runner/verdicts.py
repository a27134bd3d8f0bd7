"""What came of an attempt: the outcome of the engine as the answer of a runner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from kafka_etl.invocation import Condition, ErrorInfo, Outcome, Outputs
from kafka_etl.retry import RetryPolicy, wanted_wait
from kafka_etl.tasks.head import Failure
from kafka_etl.tasks.rows import Row, encode_rows
from kafka_etl.tasks.words import Why

_PREVIEW: Final = 1024
_MESSAGE: Final = 2_000
_TRACEBACK: Final = 4_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether, and when, another attempt makes sense after an error.

    Attributes:
        is_permanent: Whether the next attempt would fail in the same way.
        retry_after: Seconds that the operator wants to wait before the next attempt; None: it has
            no wish.
    """

    is_permanent: bool
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class OneAttempt(RetryPolicy):
    """A retry policy that tries nothing again, and notes what the pipeline's policy would do.

    Attributes:
        verdicts: The verdicts so far.
    """

    verdicts: list[Verdict] = field(default_factory=list[Verdict])

    @classmethod
    def noting(cls, policy: RetryPolicy, verdicts: list[Verdict]) -> OneAttempt:
        """Make a policy that judges errors as `policy` does, and notes its verdicts in a list."""
        return cls(policy.max_attempts, policy.backoff, policy.never, policy.only, verdicts)

    def wait_before_next(
        self, error: BaseException, attempt: int, random: Callable[[], float]
    ) -> float | None:
        """Return None: the owner of the task decides about further attempts."""
        before_the_first = min(attempt, 0)  # for which `max_attempts` is never too low
        wait = RetryPolicy.wait_before_next(self, error, before_the_first, random)
        self.verdicts.append(Verdict(wait is None, wanted_wait(error)))
        return None


@dataclass(frozen=True, slots=True)
class Success:
    """The encoded rows, and the first of them as text."""

    rows: bytes
    preview: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no result."""

    why: Why
    failure: Failure
    retry_after: float | None = None


def conclude(outcome: Outcome, verdicts: list[Verdict], max_result: int) -> Success | Fault:
    """What came of one record.

    Args:
        outcome: The outcome of the record's one attempt.
        verdicts: What the policies have noted.
        max_result: The largest result, in bytes.
    """
    if outcome.failed:
        verdict = verdicts[-1] if verdicts else Verdict(is_permanent=True)
        failed = outcome.failed[0]
        failure = failure_of(failed.error, failed.condition)
        return Fault("permanent" if verdict.is_permanent else "error", failure, verdict.retry_after)
    rows = rows_of(outcome.outputs)
    encoded = encode_rows(rows)
    if len(encoded) > max_result:
        return Fault(
            "permanent",
            Failure(
                "RecordTooLarge",
                f"the result has {len(encoded):,} bytes, and may have {max_result:,}: return where "
                "the result is instead of the result",
            ),
        )
    first = rows[0].value if rows else None
    return Success(encoded, (first or b"")[:_PREVIEW].decode("utf-8", "replace"))


def rows_of(outputs: Outputs) -> list[Row]:
    """The rows of these outputs.

    Raises:
        TypeError: A value is no bytes: the sink is one of tables.
    """
    rows: list[Row] = []
    for at, (key, value) in enumerate(zip(outputs.keys, outputs.values, strict=True)):
        if not (value is None or isinstance(value, bytes)):
            raise TypeError(f"a row is bytes, not {type(value).__name__}")
        rows.append(
            Row(
                topic=(outputs.topics[at] if outputs.topics else None) or "",
                key=key,
                value=value,
                headers=(outputs.headers[at] if outputs.headers else None) or [],
                timestamp=outputs.timestamps[at] if outputs.timestamps else 0,
            )
        )
    return rows


def failure_of(error: ErrorInfo, condition: Condition = Condition.OPERATOR_ERROR) -> Failure:
    """An error as a word has it: of bounded size, with the end of a long traceback."""
    return Failure(
        error.type,
        error.message[:_MESSAGE],
        error.traceback[-_TRACEBACK:],
        condition="" if condition is Condition.OPERATOR_ERROR else condition.value,
    )
