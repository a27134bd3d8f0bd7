"""The shape of sinks, and how a commit may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kafka_etl.invocation import Outputs, Settlement


class Sink(Protocol):
    """Makes a settlement durable as one act."""

    def open(self) -> None:
        """Become ready; called again after `OutcomeUnknown`, it settles what was left undecided."""
        ...

    def commit(self, settlement: Settlement) -> None:
        """Return when the whole settlement is durable.

        Raises:
            Aborted: Nothing of it is durable.
            OutcomeUnknown: It may or may not be; `open` decides it.
            KafkaEtlError: It never will be; the pipeline stops.
        """
        ...

    def close(self) -> None:
        """Never raises."""
        ...


@runtime_checkable
class PromptSink(Sink, Protocol):
    """A sink whose commit can be waited for elsewhere, while the next batch is run."""

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """Take the settlement over, without waiting for its end.

        Returns:
            What returns when all of it is durable, or raises as `commit` does. It is called once,
            in another thread, before anything else is asked of the sink.
        """
        ...


class Writer(Protocol):
    """All that the author of an at-least-once sink writes.

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
        """Return when every output is acknowledged.

        Raises:
            Permanent: The target refuses the outputs; they are halved until one record is left,
                which becomes a dead letter.
            KafkaEtlError: No later try can succeed; the pipeline stops.
            Exception: The same outputs are written again after a while.
        """
        ...

    def close(self) -> None:
        """Let go of the target; called once, also where `open` was not."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """The target said no to a record, or to a set of records it arrived in."""

    code: str
    message: str
    too_large: bool = False


class Aborted(Exception):
    """Nothing of the settlement became durable; it may be tried again from the source.

    Args:
        reason: For the log.
        refusal: Set when the target refused records, rather than being away.
        routine: A rebalance or the like: normal operation, not worth a warning.
    """

    def __init__(
        self, reason: str, *, refusal: Refusal | None = None, routine: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal
        self.routine = routine


class OutcomeUnknown(Exception):
    """The answer to a commit was lost; only the committed offsets can tell.

    Args:
        reason: For the log.
        fenced: The broker said that another client uses our id, without a fault of our own that
            would explain it.
    """

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced
