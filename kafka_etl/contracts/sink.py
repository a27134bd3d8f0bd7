"""The contract between the engine and a sink, and the ways a commit may end.

Authors of plug-ins do not implement a `Sink`. They implement one of the three doors of
`kafka_etl.contracts.doors`, and the framework makes a sink of it (`kafka_etl.engine.sinks`). Only
the Kafka sink, whose outputs and offsets are one transaction, is a sink by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kafka_etl.contracts.doors import Refused
from kafka_etl.invocation import Settlement
from kafka_etl.record import Offsets, Partition


class Sink(Protocol):
    """Makes a settlement durable as one act.

    The worker calls `open` and the function that `begin` returns on the commit thread, one call at
    a time, while the main thread serves the source. `begin` and `close` are called on the main
    thread. A wait of more than a few seconds calls the `Pulse`.
    """

    def open(self) -> None:
        """Become ready for commits.

        Called before each source is made, at the start and after each `Reconnect`, and after each
        `OutcomeUnknown`: the sink ends any commit that is left undecided, a predecessor's included,
        so that the offsets tell the outcome. May block until the target answers.

        Raises:
            OutcomeUnknown: The target does not say; `open` is called again after a back-off.
            KafkaEtlError: The pipeline stops, or pauses.
            Abandoned: The worker stops, raised by the pulse.
        """
        ...

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """Take the settlement over, without waiting for the commit's end.

        Returns:
            A function that returns when the whole settlement is durable: outputs, dead letters,
            offsets and notes. The function is called once, on the commit thread, before any other
            call; it raises what `begin` may raise, too.

        Raises:
            Aborted: Nothing of the settlement is durable; the batch is run again.
            RowsRefused: The target refuses some outputs; the rest is committed once more.
            OutcomeUnknown: The settlement may be durable or not; `open` is called next.
            KafkaEtlError: The settlement never will be durable; the pipeline stops, or pauses.
            Abandoned: The worker stops, raised by the pulse.
        """
        ...

    def close(self) -> None:
        """Let go of the target; never raises."""
        ...


@runtime_checkable
class OffsetKeeper(Protocol):
    """A sink that keeps the offsets itself: they win over those of the group."""

    def standing(self, arrivals: Offsets) -> Offsets:
        """Return where each partition stands in the target; called on the commit thread.

        Args:
            arrivals: Partition -> the offset that the group has committed.

        Raises:
            OutcomeUnknown: The target is away; the partitions wait, and the call is repeated.
            KafkaEtlError: The offsets of target and group contradict each other.
        """
        ...


@runtime_checkable
class RollingSink(Protocol):
    """A sink that takes settlements into an open file, and makes many durable at once."""

    def tick(self, now: float, *, final: bool) -> Offsets:
        """Return what is durable by now; called on the commit thread, as `OffsetKeeper.standing`.

        Called after each commit, and several times a second while nothing is committed.

        Args:
            now: Monotonic time, in seconds.
            final: Whether nothing more will come: the sink closes what is open.

        Raises: as `Sink.begin`, of settlements that were taken before.
        """
        ...

    def discard(self, partitions: Collection[Partition]) -> None:
        """Forget what was taken of these partitions and is not durable."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """The target refused a record, or a set of records, without naming the bad one.

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
        whole: Whether the next batch may be as large as this one: its size is not to blame.
    """

    def __init__(
        self,
        reason: str,
        *,
        refusal: Refusal | None = None,
        routine: bool = False,
        whole: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal
        self.routine = routine
        self.whole = whole


class RowsRefused(Exception):
    """Raised by a commit: the target refuses these outputs, all of them found in one pass.

    The engine makes dead letters of their records, and commits the rest.

    Args:
        rows: Position of an output in the settlement -> the target's verdict.
        delivered: Whether the target has taken all other outputs: only the offsets remain.
    """

    def __init__(self, rows: Mapping[int, Refused], *, delivered: bool = False) -> None:
        super().__init__(f"{len(rows)} rows refused")
        self.rows = dict(rows)
        self.delivered = delivered


class OutcomeUnknown(Exception):
    """Raised by a commit whose answer was lost: only the offsets can tell its outcome.

    Args:
        reason: For the log and the pipeline's state.
        fenced: Whether the broker said that another client uses the worker's id, and no fault of
            the worker's own explains that.
    """

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced
