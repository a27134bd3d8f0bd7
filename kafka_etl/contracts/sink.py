"""The contract between the engine and a sink, and the ways a commit may end.

Authors of plug-ins do not implement a `Sink`. They implement one of the three doors of
`kafka_etl.contracts.doors`, and the framework makes a sink of it (`kafka_etl.engine.sinks`). Only
the Kafka sink, whose outputs and offsets are one transaction, is a sink by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kafka_etl.invocation import Refused, Settlement, Tenure
from kafka_etl.record import Offsets, Partition


@runtime_checkable
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
class OffsetKeeper(Sink, Protocol):
    """A sink whose target keeps the offsets: they win over those of the group.

    All methods but `begin` and `close` are called on the commit thread.

    Attributes:
        rolls: Whether a commit may return before the settlement is durable: the target has taken it
            into an open file, and `tick` tells what has become durable.
    """

    rolls: bool

    def standing(self, arrivals: Offsets) -> Offsets:
        """Return where each partition stands in the target.

        Args:
            arrivals: Partition -> the offset that the group has committed.

        Raises:
            OutcomeUnknown: The target is away; `open` is called next, then this method again.
            KafkaEtlError: The offsets of target and group contradict each other.
        """
        ...

    def tick(
        self,
        tenure: Callable[[], Tenure],
        *,
        final: bool,
        paused: bool = False,
        leaving: Collection[Partition] = (),
    ) -> Offsets:
        """Do what is due, and return what has become durable since the last call.

        Called after each commit, and several times a second while nothing is committed.

        Args:
            tenure: Tells the worker's present hold on its partitions.
            final: Whether nothing more will come: everything open is closed.
            paused: Whether the pipeline is paused: nothing more comes for a while.
            leaving: Partitions that leave: what is open of them is closed.

        Raises: as the function of `begin`, of settlements that were taken before.
        """
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
        moved: Partitions that stand elsewhere in a sink that keeps the offsets; the size of the
            batch is not to blame then.
    """

    def __init__(
        self,
        reason: str,
        *,
        refusal: Refusal | None = None,
        routine: bool = False,
        moved: Collection[Partition] = (),
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal
        self.routine = routine
        self.moved: frozenset[Partition] = frozenset(moved)


class RowsRefused(Exception):
    """Raised by a commit: the target refuses these outputs, all of them found in one pass.

    The engine makes dead letters of their records, and commits the rest.

    Args:
        rows: Position of an output in the settlement -> the target's verdict.
        delivered: Whether the target has taken all other outputs: only the offsets remain.
    """

    def __init__(self, rows: Mapping[int, Refused], *, delivered: bool = False) -> None:
        super().__init__(f"{len(rows)} rows refused")
        self.rows: dict[int, Refused] = dict(rows)
        self.delivered = delivered


class OutcomeUnknown(Exception):
    """Raised by a commit whose answer was lost: only the offsets can tell its outcome.

    Args:
        reason: For the log and the pipeline's state.
        fenced: Whether the broker said that another client uses the worker's id, and no fault of
            the worker's own explains that.
        halve: Whether the next batch is to be half as large: its size may be to blame.
    """

    def __init__(self, reason: str, *, fenced: bool = False, halve: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced
        self.halve = halve
