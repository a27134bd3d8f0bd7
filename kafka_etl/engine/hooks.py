"""The interface between the stream engine and its worker: hooks, flight recorder and limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kafka_etl.record import Partition


class Recorder(Protocol):
    """The flight recorder: the engine notes its phase and the offsets in hand.

    The daemon reads the notes while the worker runs; after a death, they tell the worker's
    successor which records to suspect. All methods are called on the worker's main thread.
    """

    def phase(self, name: str) -> None:
        """Note that a phase begins: `gather`, `operator`, `settle`, `commit`, `wait` or `idle`."""
        ...

    def operating(self, ranges: Mapping[Partition, tuple[int, int]]) -> None:
        """Note the offsets of the slice that the operators are about to be given.

        Args:
            ranges: Partition -> first and next offset; replaces the ranges of the last call.
        """
        ...

    def in_hand(self, partition: Partition, offset: int) -> None:
        """Note that the operators are about to be given this record alone (careful mode)."""
        ...

    def count(self, counters: Mapping[tuple[str, str], float]) -> None:
        """Note the worker's counters after a commit.

        Args:
            counters: (metric, label value) -> count since the worker started.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is settled in part, and whether failed records may become dead letters.

    Attributes:
        dead_letters: Whether the pipeline has a place for dead letters.
        settle_after: Seconds of work after which the finished slices are committed.
        settle_bytes: Bytes of outputs after which the finished slices are committed.
    """

    dead_letters: bool
    settle_after: float = 5.0
    settle_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions of the worker that the engine calls, all on the worker's main thread.

    Attributes:
        stopping: Whether the worker is stopping: the engine then finishes the slice in hand and
            gathers no more. Called between slices; the worker also talks to its daemon in the call.
        sleep: Waits a number of seconds; raises `Abandoned` when the worker is stopping.
        fenced: Called with the reason when another client took the worker's transactional id;
            raises when that happens too often.
        trouble: Called with a short text on the obstacle the pipeline has met, for the pipeline's
            state; called with None when the obstacle is gone.
        clock: Monotonic time, in seconds.
        now_ms: Wall-clock time, in milliseconds since the epoch.
        random: A random number from 0 to 1, for the jitter of waits.
    """

    stopping: Callable[[], bool]
    sleep: Callable[[float], None]
    fenced: Callable[[str], None]
    trouble: Callable[[str | None], None]
    clock: Callable[[], float]
    now_ms: Callable[[], int]
    random: Callable[[], float]
