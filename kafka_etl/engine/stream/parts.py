"""The parts of one stream engine, assembled by the worker and shared by the engine's classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from kafka_etl.contracts import Sink, Source
from kafka_etl.dead_letters import Causes
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.hooks import Hooks, Limits, Recorder
from kafka_etl.engine.poison.breaker import Breaker
from kafka_etl.engine.poison.kinds import Kinds
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.engine.stream.pace import Pace
from kafka_etl.invocation import DeadLetter
from kafka_etl.metrics import Counters

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SubmittedCall(Protocol[T_co]):
    """A call that runs, or has ended, on the commit thread."""

    def ended(self, seconds: float) -> bool:
        """Wait for the end of the call, for so many seconds at most; whether it has ended.

        Raises:
            Abandoned: The worker must stop now.
        """
        ...

    def result(self) -> T_co:
        """Return, or raise, what the call has returned or raised."""
        ...


class Submit(Protocol):
    """Starts a call on the commit thread; calls run one after the other, never two at a time."""

    def __call__(self, call: Callable[[], T], /) -> SubmittedCall[T]: ...


Letters = Callable[[Sequence[DeadLetter]], None]
"""Writes dead letters to a place of their own, before the commit; raises as a commit does."""


@dataclass(frozen=True, slots=True)
class StreamParts:
    """All that a stream engine works with.

    Attributes:
        source: The source: gives batches, and keeps the offsets of the group.
        sink: The sink: makes settlements durable.
        invoker: Runs the operators on a slice.
        limits: Limits after which a batch is settled in part.
        pace: Sizes of the next batch and the next slice.
        breaker: Pauses the pipeline before too many dead letters.
        quarantine: Records that run apart from others, or not at all.
        recorder: The flight recorder.
        counters: The worker's metrics.
        hooks: Functions of the worker that the engine calls.
        causes: Counts of dead letters by cause.
        kinds: The kinds of dead letters that the pipeline has had.
        cautious: Whether a record that runs alone is named in the flight recorder, though it is no
            suspect: predecessors of the worker died outside of operators.
        submit: Starts a call on the commit thread.
        letters: Writes dead letters where the sink does not; None: the sink does.
    """

    source: Source
    sink: Sink
    invoker: Invoker
    limits: Limits
    pace: Pace
    breaker: Breaker
    quarantine: Quarantine
    recorder: Recorder
    counters: Counters
    hooks: Hooks
    submit: Submit
    letters: Letters | None = None
    causes: Causes = field(default_factory=Causes)
    kinds: Kinds = field(default_factory=Kinds)
    cautious: bool = False
