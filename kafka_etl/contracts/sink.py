"""The contracts of sinks and writers, and the ways a commit may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kafka_etl.invocation import Outputs, Settlement


class Sink(Protocol):
    """Makes a settlement durable as one act.

    The engine calls `open`, `commit` and `close` on the worker's main thread, one call at a time.
    A wait of more than a few seconds calls the `Pulse`.
    """

    def open(self) -> None:
        """Become ready for commits.

        Called before each source is made, at the start and after each `Reconnect`, and after each
        `OutcomeUnknown`: the sink ends any commit that is left undecided, a predecessor's included,
        so that the committed offsets tell the outcome. May block until the target answers.

        Raises:
            OutcomeUnknown: The target does not say; `open` is called again after a back-off.
            KafkaEtlError: The pipeline stops.
            Abandoned: The worker stops, raised by the pulse.
        """
        ...

    def commit(self, settlement: Settlement) -> None:
        """Return when the whole settlement is durable: outputs, dead letters, offsets and notes.

        Raises:
            Aborted: Nothing of the settlement is durable; the batch is run again.
            OutcomeUnknown: The settlement may be durable or not; `open` is called next.
            KafkaEtlError: The settlement never will be durable; the pipeline stops. `pauses` must
                be false: the engine does not rewind the source for an error of the sink.
            Abandoned: The worker stops, raised by the pulse.
        """
        ...

    def close(self) -> None:
        """Let go of the target; never raises."""
        ...


@runtime_checkable
class PromptSink(Sink, Protocol):
    """A sink whose commit can be waited for on another thread, while the next batch is run."""

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """Take the settlement over on the main thread, without waiting for the commit's end.

        Returns:
            A function that returns when the whole settlement is durable, or raises as `commit`
            does. The function is called once, on the commit thread, before any other call.

        Raises:
            Aborted: As `commit`.
            OutcomeUnknown: As `commit`.
        """
        ...


class Writer(Protocol):
    """The part of an at-least-once sink that a plug-in's author writes.

    The framework calls a writer on one thread of its own, one call at a time. Every method may
    block for as long as the target takes: the worker's main thread reports to the daemon meanwhile.
    The consumer is not polled during a `write`: one that takes longer than `max.poll.interval.ms`
    (5 minutes or more) costs the worker its partitions, and their next owner writes again.
    """

    def open(self) -> None:
        """Connect to the target. Called before the first `write`.

        Raises:
            KafkaEtlError: No later try can succeed; the pipeline stops.
            Exception: The target is away: `open` is called again after 0.2 to 10 s. A run with
                `--until-end` stops with `SinkFailed` after a minute of failures.
        """
        ...

    def write(self, outputs: Outputs) -> None:
        """Return when the target has acknowledged every output.

        Raises:
            Permanent: The target refuses the outputs; the engine runs smaller and smaller batches
                until a refused record is alone, and makes that record a dead letter.
            KafkaEtlError: No later try can succeed; the pipeline stops. `pauses` must be false.
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
    """The target refused a record, or a set of records.

    Attributes:
        code: The target's own name for the refusal.
        message: The target's words.
        too_large: Whether the target refuses the size of a record.
    """

    code: str
    message: str
    too_large: bool = False


class Aborted(Exception):
    """Raised by a commit of which nothing became durable: the batch is read and run again.

    Args:
        reason: For the log and the pipeline's state.
        refusal: The target's refusal of a record; None: the target is away, say.
        routine: Whether this is normal operation, such as a rebalance, and no trouble.
    """

    def __init__(
        self, reason: str, *, refusal: Refusal | None = None, routine: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal
        self.routine = routine


class OutcomeUnknown(Exception):
    """Raised by a commit whose answer was lost: only the committed offsets can tell its outcome.

    Args:
        reason: For the log and the pipeline's state.
        fenced: Whether the broker said that another client uses the worker's id, and no fault of
            the worker's own explains that.
    """

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced
