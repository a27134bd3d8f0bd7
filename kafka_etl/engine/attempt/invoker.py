"""The invoker: attempts, waves of retries, and the search for the record to blame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.rows.faults import EngineFailed, Fault, GroupFault, NamedFaults
from kafka_etl.engine.rows.mapping import PoolFailed, is_nobodys
from kafka_etl.invocation import (
    CONTEXT,
    SHARED,
    TRACEBACK,
    Attempt,
    Condition,
    ErrorInfo,
    Failure,
    Invocation,
    Outcome,
    Outputs,
)
from kafka_etl.retry import RetryPolicy

_SAID: Final = 200
"""Characters of an error's text in the reason of a wait."""

Group = Sequence[int]
"""Indices of records of the invocation that are attempted together."""

Wait = Callable[[float, str], None]
"""Waits some seconds, for a reason, keeping the membership alive; may raise `Abandoned`."""


@dataclass(frozen=True, slots=True)
class Invoker:
    """Runs an invocation until each record has succeeded or failed for good.

    The invoker returns an outcome, and `settle` decides whether failed records become dead letters.

    Attributes:
        chain: Stages of the pipeline.
        policy: Retry policy: which errors are retried, and when.
        policies: Name of an operator -> the operator's own retry policy.
        now_ms: Wall-clock time in milliseconds since the epoch, for the attempts of a dead letter.
        random: A random number from 0 to 1, for the jitter of waits.
    """

    chain: Chain
    policy: RetryPolicy
    policies: Mapping[str, RetryPolicy]
    now_ms: Callable[[], int]
    random: Callable[[], float]

    def run(self, invocation: Invocation, wait: Wait) -> Outcome:
        """Attempt all records, then retry, in waves, the records that may still succeed.

        After one wait, a wave attempts all failed records whose errors may be retried. A group
        without a record to blame is retried as a group for as long as its error allows, and then
        halved until the records to blame are found.

        Args:
            invocation: The slice.
            wait: Called between two waves.

        Raises:
            Abandoned: The worker is stopping; the invocation has no outcome.
            Unavailable: A system that a codec or an operator needs is away.
            KafkaEtlError: The pipeline must pause or stop.
        """
        run = _Run(self, invocation)
        groups: list[Group] = [range(len(invocation.batch))]
        number = 1
        while True:
            self.chain.number_attempt(number)
            wave = run.wave(groups, number)
            if not wave.groups:
                return run.outcome()
            wait(wave.delay, wave.reason)
            groups, number = wave.groups, number + 1


@dataclass(slots=True)
class _NextWave:
    """The records to attempt in the next wave.

    Attributes:
        number: Number of the attempt that failed, from 1.
        groups: Groups to attempt.
        singles: Records with a fault of their own; one group of the wave holds them all.
        delay: Seconds to wait before the wave.
        errors: Text of an error and its operator -> records that failed with the error.
    """

    number: int
    groups: list[Group] = field(default_factory=list[Group])
    singles: list[int] = field(default_factory=list[int])
    delay: float = 0.0
    errors: Counter[str] = field(default_factory=Counter[str])

    @property
    def reason(self) -> str:
        """Why the pipeline waits: how many records failed, and their commonest error."""
        records = sum(map(len, self.groups))
        error, _ = self.errors.most_common(1)[0]
        return (
            f"{records:,} records failed attempt {self.number} and are tried again; mostly {error}"
        )


class _Run:
    """The state of one invocation: outputs so far, final failures, and every failed attempt."""

    def __init__(self, invoker: Invoker, invocation: Invocation) -> None:
        self._invoker = invoker
        self._chain = invoker.chain
        self._records = invocation.batch.records
        self._parts: list[tuple[Group, Outputs]] = []
        self._attempts: dict[int, list[Attempt]] = {}
        self._failed: dict[int, Failure] = {}
        self._dropped = 0

    def wave(self, groups: list[Group], number: int) -> _NextWave:
        """Attempt each group; halve groups that failed for good without a record to blame.

        Args:
            groups: Groups to attempt.
            number: Number of the attempt, from 1.
        """
        following = _NextWave(number)
        stack = list(reversed(groups))
        while stack:
            stack.extend(reversed(self._try(stack.pop(), following)))
        if following.singles:
            following.groups.append(sorted(following.singles))
        return following

    def outcome(self) -> Outcome:
        """The outcome, once no record is left to attempt."""
        failed = tuple(self._failed[index] for index in sorted(self._failed))
        return Outcome(_in_order(self._parts), failed, self._dropped)

    def _try(self, group: Group, following: _NextWave) -> list[Group]:
        """Attempt one group.

        Returns:
            Groups to attempt at once, without a wait: the halves of the group, or the group without
            the records that are known to be bad.
        """
        started = self._invoker.now_ms()
        records = self._records
        if len(group) < len(records):
            records = [records[index] for index in group]
        try:
            outputs, flow = self._chain.attempt(records)
        except NamedFaults as named:
            self._blame(group, named.faults, started, following)
            rest = [index for row, index in enumerate(group) if row not in named.faults]
            return [rest] if rest else []
        except GroupFault as failed:
            return self._group_failed(group, failed, started, following)
        except PoolFailed as failed:
            raise failed.error from None
        except BaseException as error:
            if is_nobodys(error):
                raise
            return self._group_failed(group, self._engine_failed(error), started, following)
        if self._chain.mixes:
            again = self._first_retryable(flow.faults, following.number)
            if again is not None:
                together = GroupFault(again, splittable=False)
                return self._group_failed(group, together, started, following)
        self._blame(group, flow.faults, started, following)
        self._parts.append((group, outputs))
        self._dropped += flow.dropped
        return []

    def _engine_failed(self, error: BaseException) -> GroupFault:
        """The fault of a group for an unexpected exception in the engine.

        The invoker finds the record by halving, so that no result of an operator ends a worker.
        """
        failed = EngineFailed(error).with_traceback(error.__traceback__)
        fault = Fault(failed, Condition.OPERATOR_ERROR)
        return GroupFault(fault, splittable=not self._chain.mixes)

    def _group_failed(
        self, group: Group, failed: GroupFault, started: int, following: _NextWave
    ) -> list[Group]:
        delay = self._delay(failed.fault, following.number)
        if delay is None and failed.splittable and len(group) > 1:
            half = len(group) // 2
            return [group[:half], group[half:]]
        self._note(group, failed.fault, started, following, final=delay is None)
        if delay is not None:
            following.groups.append(group)
            following.delay = max(following.delay, delay)
        return []

    def _blame(
        self,
        group: Group,
        faults: Mapping[int, Fault],
        started: int,
        following: _NextWave,
    ) -> None:
        """Schedule a retry of each of these records, or note its failure, as the policy says."""
        for row, fault in faults.items():
            index = group[row]
            delay = None if self._chain.mixes else self._delay(fault, following.number)
            self._note((index,), fault, started, following, final=delay is None)
            if delay is not None:
                following.singles.append(index)
                following.delay = max(following.delay, delay)

    def _first_retryable(self, faults: Mapping[int, Fault], number: int) -> Fault | None:
        """The first fault that may be retried; None: all faults are final.

        For chains that mix rows: a record cannot be retried without the other records.
        """
        return next((f for f in faults.values() if self._delay(f, number) is not None), None)

    def _delay(self, fault: Fault, number: int) -> float | None:
        invoker = self._invoker
        policy = invoker.policies.get(fault.operator, invoker.policy)
        return policy.wait_before_next(fault.error, number, invoker.random)

    def _note(
        self,
        indices: Sequence[int],
        fault: Fault,
        started: int,
        following: _NextWave,
        *,
        final: bool,
    ) -> None:
        """Note a failed attempt at these records, and, after the last attempt, the failure."""
        info = ErrorInfo.of(fault.error)
        _let_go(fault.error)
        said = f"{info.type}: {info.message}"
        attempt = Attempt(following.number, started, self._invoker.now_ms(), said)
        if not final:
            at = f" in {fault.operator}" if fault.operator else ""
            following.errors[f"{said[:_SAID]}{at}"] += len(indices)
        for index in indices:
            attempts = self._attempts.setdefault(index, [])
            attempts.append(attempt)
            if final:
                self._failed[index] = Failure(
                    index, fault.condition, info, fault.operator, tuple(attempts)
                )


def _let_go(error: BaseException | None) -> None:
    """Drop the traceback frames of an error that is already described as text.

    The frames refer to the whole batch, and the batch to the error. Only the garbage collector,
    which rarely runs in a worker, would free such a reference cycle.
    """
    while error is not None and TRACEBACK.__get__(error) is not None:
        TRACEBACK.__set__(error, None)
        error = CONTEXT.__get__(error)


def _in_order(parts: list[tuple[Group, Outputs]]) -> Outputs:
    """The outputs of all attempts, in the order of their source records.

    An output that belongs to all records of its group has the place of the group's first record.
    """
    if not parts:
        return Outputs()
    group, outputs = parts[0]
    if len(parts) == 1 and isinstance(group, range) and group.start == 0:
        return outputs
    origins: list[int] = []
    places: list[int] = []
    for group, outputs in parts:
        rows = range(len(outputs)) if outputs.origins is None else outputs.origins
        origins += [SHARED if row == SHARED else group[row] for row in rows]
        places += [group[0] if row == SHARED else group[row] for row in rows]
    joined = Outputs.joined([outputs for _, outputs in parts])
    joined.origins = origins
    return joined.take(sorted(range(len(joined)), key=places.__getitem__))
