"""One attempt: records through decode, operators and encode, always from their source bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from kafka_etl.engine.attempt.decode import Decode
from kafka_etl.engine.attempt.encode import Encode
from kafka_etl.engine.attempt.operate import Operate
from kafka_etl.engine.rows.flow import Flow
from kafka_etl.invocation import Outputs
from kafka_etl.record import SourceRecord


@dataclass(slots=True)
class Spent:
    """Seconds spent, by part of the path."""

    decode: float = 0.0
    operators: float = 0.0
    encode: float = 0.0

    @property
    def total(self) -> float:
        return self.decode + self.operators + self.encode

    def taken(self) -> Spent:
        """The seconds so far; the account begins anew."""
        so_far = Spent(self.decode, self.operators, self.encode)
        self.decode = self.operators = self.encode = 0.0
        return so_far


@dataclass(frozen=True, slots=True)
class Chain:
    """The stages of a pipeline.

    Attributes:
        entering: Called with the number of the stage that begins (0 decode, then the operators,
            then encode): whoever watches from outside knows what is on.
    """

    decode: Decode
    operators: tuple[Operate, ...]
    encode: Encode
    entering: Callable[[int], None]
    spent: Spent = field(default_factory=Spent)

    @property
    def mixes(self) -> bool:
        """Whether an operator mixes rows, so that records cannot be retried one by one."""
        return any(operate.operator.shape.mixes for operate in self.operators)

    def number_attempt(self, number: int) -> None:
        """Tell the operators which attempt comes next."""
        for operate in self.operators:
            operate.operator.context.attempt = number

    def attempt(self, records: Sequence[SourceRecord]) -> tuple[Outputs, Flow]:
        """Run the records through, from their source bytes.

        The only way a record is ever run: first attempt, retry, half of a split group and careful
        mode alike, so that no try sees objects that another has touched.

        Returns:
            The outputs, and the flow with the faults; positions are those in `records`.

        Raises:
            GroupFault: The attempt failed as a whole; the faults of single records go with it.
            NamedFaults: Some records are bad, the others must be run again without them.
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
