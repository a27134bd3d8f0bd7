"""The shape of sinks, and how a commit may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kafka_etl.invocation import Outputs, Settlement


class Sink(Protocol):
    """A sink: makes each settlement durable as one act.

    The engine calls all methods on the worker's main thread, one call at a time. A wait may be
    long if the sink calls its `Pulse` several times a second; the pulse raises `Abandoned`, which
    the sink lets pass, when the worker must end.
    """

    def open(self) -> None:
        """Become ready, and end any transaction that was left open.

        The worker calls `open` before it makes a source, and again after each `OutcomeUnknown`.

        Raises:
            OutcomeUnknown: The outcome of this call is unknown, too; the sink is opened again after
                a back-off.
            KafkaEtlError: No later try can succeed; the pipeline pauses or stops.
        """
        ...

    def commit(self, settlement: Settlement) -> None:
        """Return when the whole settlement is durable.

        Raises:
            Aborted: Nothing of the settlement is durable; the engine rewinds the source and runs
                the records again, in smaller batches.
            OutcomeUnknown: The settlement may or may not be durable; the engine calls `open`, then
                `Source.reload`, which reads the committed offsets.
            KafkaEtlError: No later try can succeed; the pipeline pauses or stops.
        """
        ...

    def close(self) -> None:
        """Release the clients; called once, when the worker ends. Must not raise."""
        ...


@runtime_checkable
class PromptSink(Sink, Protocol):
    """A sink whose commit can end on another thread while the main thread runs the next batch."""

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """Start to commit the settlement, without waiting until the settlement is durable.

        The engine calls `begin` on the worker's main thread.

        Returns:
            A function that returns when the whole settlement is durable, or raises as `commit`
            does. The engine calls the function once, on the commit thread, and calls no other
            method of the sink before the function has ended.

        Raises:
            Exception: As `commit` does.
        """
        ...


class Writer(Protocol):
    """The part of an at-least-once sink that a plug-in's author writes.

    The framework calls a writer on one thread of its own, one call at a time. Every method may
    block for as long as the target takes: the worker's main thread keeps the membership and the
    daemon informed meanwhile.
    """

    def open(self) -> None:
        """Connect to the target. Called before the first `write`.

        Raises:
            KafkaEtlError: No later try can succeed; the pipeline stops.
            Exception: The target is away: `open` is called again after a while.
        """
        ...

    def write(self, outputs: Outputs) -> None:
        """Return when the target has acknowledged every output.

        Raises:
            Permanent: The target refuses the outputs; the engine runs smaller and smaller batches
                until a refused record is alone, and makes that record a dead letter.
            KafkaEtlError: No later try can succeed; the pipeline stops.
            Exception: The engine runs the same records, and writes their outputs, again after a
                back-off.
        """
        ...

    def close(self) -> None:
        """Disconnect from the target; called once, even if `open` never was. Errors are logged.

        The worker waits 5 seconds at most for the end of this call.
        """
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """The refusal of a record, or of a set of records, by a target.

    Attributes:
        code: The target's name of the error.
        message: The target's text of the error.
        too_large: Whether the target refused a record for its size.
    """

    code: str
    message: str
    too_large: bool = False


class Aborted(Exception):
    """Nothing of a settlement became durable; the engine reads and runs the records again.

    Args:
        reason: For the log.
        refusal: The target's refusal of records; None: the target was away, or failed otherwise.
        routine: Whether the cause is normal operation, such as a rebalance: the engine then tries
            again without a back-off.
    """

    def __init__(
        self, reason: str, *, refusal: Refusal | None = None, routine: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal
        self.routine = routine


class OutcomeUnknown(Exception):
    """The answer to a commit was lost: only the committed offsets tell whether it succeeded.

    Args:
        reason: For the log.
        fenced: Whether the broker reported another client with this worker's transactional id, and
            no failure of this worker explains the report.
    """

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced
