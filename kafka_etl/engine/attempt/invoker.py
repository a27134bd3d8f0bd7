"""Calling user code: attempts, waves of retries, and finding the guilty record of a batch."""

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
"""Indices into the invocation's records that are attempted together."""

Wait = Callable[[float, str], None]
"""Waits some seconds, for a reason, keeping the membership alive; may raise `Abandoned`."""


@dataclass(frozen=True, slots=True)
class Invoker:
    """Runs an invocation to its end and returns what came of it; never decides what follows.

    Attributes:
        chain: The stages.
        policy: Which errors are tried again, and when.
        policies: Operator -> its own policy.
        now_ms: The wall clock, for the attempts in a dead letter.
        random: 0 to 1, for jitter.
    """

    chain: Chain
    policy: RetryPolicy
    policies: Mapping[str, RetryPolicy]
    now_ms: Callable[[], int]
    random: Callable[[], float]

    def run(self, invocation: Invocation, wait: Wait) -> Outcome:
        """Attempt all records, then in waves those that may succeed yet.

        A wave tries everything that failed together, after one wait. A group that failed without
        naming a record is retried as a group while its error allows, then halved until the
        guilty records are found.

        Args:
            invocation: The slice.
            wait: Called between two waves.

        Raises:
            Abandoned: The worker stops during a wait; nothing of this invocation counts.
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
    """The records that failed attempt `number` and are tried again, after `delay` seconds."""

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
    """The state of one invocation: what is done, what failed for good, and every attempt."""

    def __init__(self, invoker: Invoker, invocation: Invocation) -> None:
        self._invoker = invoker
        self._chain = invoker.chain
        self._records = invocation.batch.records
        self._parts: list[tuple[Group, Outputs]] = []
        self._attempts: dict[int, list[Attempt]] = {}
        self._failed: dict[int, Failure] = {}
        self._dropped = 0

    def wave(self, groups: list[Group], number: int) -> _NextWave:
        """Attempt each group; halve those that are final but not yet blamed on one record."""
        following = _NextWave(number)
        stack = list(reversed(groups))
        while stack:
            stack.extend(reversed(self._try(stack.pop(), following)))
        if following.singles:
            following.groups.append(sorted(following.singles))
        return following

    def outcome(self) -> Outcome:
        failed = tuple(self._failed[index] for index in sorted(self._failed))
        return Outcome(_in_order(self._parts), failed, self._dropped)

    def _try(self, group: Group, following: _NextWave) -> list[Group]:
        """One attempt at one group. Returns what must be attempted at once: its halves, if any."""
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
        """Nothing that an operator gives ends a worker: the record is found by halving."""
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
        """Each of these records failed on its own account: try it again, or let it fail."""
        for row, fault in faults.items():
            index = group[row]
            delay = None if self._chain.mixes else self._delay(fault, following.number)
            self._note((index,), fault, started, following, final=delay is None)
            if delay is not None:
                following.singles.append(index)
                following.delay = max(following.delay, delay)

    def _first_retryable(self, faults: Mapping[int, Fault], number: int) -> Fault | None:
        """Where rows are mixed, a record cannot be tried again without the others."""
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
        """Remember a failed attempt of these records, and, if it was the last, the failure."""
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
    """Forget the frames of an error that has been described.

    They hold the whole batch, and the batch holds the error: a circle that only the garbage
    collector would find, which runs rarely here.
    """
    while error is not None and TRACEBACK.__get__(error) is not None:
        TRACEBACK.__set__(error, None)
        error = CONTEXT.__get__(error)


def _in_order(parts: list[tuple[Group, Outputs]]) -> Outputs:
    """The outputs of all attempts in the order of their source records.

    Outputs without one origin stand where their group begins.
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
