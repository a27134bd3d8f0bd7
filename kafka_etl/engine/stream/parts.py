"""The parts of one stream engine, assembled by the worker and shared by the engine's classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from kafka_etl.contracts import Sink, Source
from kafka_etl.dead_letters import Causes
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.hooks import Hooks, Limits, Recorder
from kafka_etl.engine.poison.breaker import Breaker
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.engine.stream.pace import Pace
from kafka_etl.metrics import Counters


class SubmittedCommit(Protocol):
    """A commit that runs, or has ended, on the commit thread."""

    def result(self) -> float:
        """Wait for the end of the commit.

        Returns:
            The seconds the commit took.

        Raises:
            Exception: Whatever the commit raised.
        """
        ...


SubmitCommit = Callable[[Callable[[], float]], SubmittedCommit]
"""Starts a call on the commit thread; calls run one after the other, never two at a time."""


@dataclass(frozen=True, slots=True)
class StreamParts:
    """All that a stream engine works with.

    Attributes:
        source: The source: gives batches, and keeps the offsets of the group.
        sink: The sink: makes settlements durable.
        invoker: Runs the operators on a slice.
        limits: Limits after which a batch is settled in part.
        pace: Sizes of the next batch and the next slice.
        breaker: Pauses the pipeline after too many dead letters in a row.
        quarantine: Records that run apart from others, or not at all.
        recorder: The flight recorder.
        counters: The worker's metrics.
        hooks: Functions of the worker that the engine calls.
        causes: Counts of dead letters by cause.
        cautious: Whether a record that runs alone is named in the flight recorder, though it is no
            suspect: predecessors of the worker died outside of operators.
        submit: Starts a commit on the commit thread; None: each commit is waited for.
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
    causes: Causes = field(default_factory=Causes)
    cautious: bool = False
    submit: SubmitCommit | None = None
