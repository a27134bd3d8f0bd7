"""One attempt: records pass decode, operators and encode, always from their source bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from kafka_etl.engine.attempt.decode import Decode
from kafka_etl.engine.attempt.operate import Operate
from kafka_etl.engine.rows.flow import Flow
from kafka_etl.invocation import Outputs
from kafka_etl.record import SourceRecord


@dataclass(slots=True)
class Spent:
    """Seconds spent since the last commit, by part of the chain."""

    decode: float = 0.0
    operators: float = 0.0
    encode: float = 0.0

    @property
    def total(self) -> float:
        return self.decode + self.operators + self.encode

    def taken(self) -> Spent:
        """Return the seconds so far, and set them to zero."""
        so_far = Spent(self.decode, self.operators, self.encode)
        self.decode = self.operators = self.encode = 0.0
        return so_far


class LastStage(Protocol):
    """What makes outputs of a flow: `Encode` for a sink of bytes, `Shape` for one of rows."""

    def apply(self, flow: Flow) -> Outputs:
        """Make the outputs of records without a fault; origins are positions in the attempt."""
        ...


@dataclass(frozen=True, slots=True)
class Chain:
    """The stages of a pipeline: decode, operators, encode.

    Attributes:
        decode: First stage.
        operators: Stages of the operators, in the order of the pipeline.
        encode: Last stage.
        entering: Called with the number of each stage that begins: 0 is decode, then come the
            operators, then encode. The worker writes the number to its flight recorder.
        spent: Seconds spent in each part of the chain.
    """

    decode: Decode
    operators: tuple[Operate, ...]
    encode: LastStage
    entering: Callable[[int], None]
    spent: Spent = field(default_factory=Spent)

    @property
    def mixes(self) -> bool:
        """Whether an operator mixes rows, so that records cannot be retried one by one."""
        return any(operate.operator.shape.mixes for operate in self.operators)

    def number_attempt(self, number: int) -> None:
        """Set the number of the next attempt, from 1, in the operators' `Context`."""
        for operate in self.operators:
            operate.operator.context.attempt = number

    def attempt(self, records: Sequence[SourceRecord]) -> tuple[Outputs, Flow]:
        """Run records through all stages, from their source bytes.

        Every attempt at a record is made here: the first attempt, a retry, half of a split group,
        and careful mode. No attempt sees objects that an earlier attempt has changed.

        Returns:
            The outputs, and the flow with its faults; origins are positions in `records`.

        Raises:
            GroupFault: The attempt failed as a whole; faults of single records are discarded.
            NamedFaults: Some records are bad; the others must be attempted again without them.
        """
        flow = Flow(records)
        self.entering(0)
        started = perf_counter()
        self.decode.apply(flow)
        decoded = perf_counter()
        for number, operate in enumerate(self.operators, start=1):
            self.entering(number)
            operate.apply(flow)
        self.entering(len(self.operators) + 1)
        operated = perf_counter()
        outputs = self.encode.apply(flow)
        self.spent.decode += decoded - started
        self.spent.operators += operated - decoded
        self.spent.encode += perf_counter() - operated
        return outputs, flow
