"""What the engine of a pipeline needs of its worker, and its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kafka_etl.record import Partition


class Recorder(Protocol):
    """Where the engine leaves what it is about, for whoever watches it or succeeds it."""

    def phase(self, name: str) -> None:
        """The part of the path that begins now."""
        ...

    def operating(self, ranges: Mapping[Partition, tuple[int, int]]) -> None:
        """The offsets operators are about to see, until the next call."""
        ...

    def in_hand(self, partition: Partition, offset: int) -> None:
        """Operators are about to see this record alone."""
        ...

    def count(self, counters: Mapping[tuple[str, str], float]) -> None:
        """Something was committed: (metric, label value) -> count so far."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is settled in part, and what happens to what fails.

    Attributes:
        dead_letters: Whether there is a place for them.
        settle_after: Seconds of work after which the finished slices are committed.
        settle_bytes: Bytes of outputs after which they are.
    """

    dead_letters: bool
    settle_after: float = 5.0
    settle_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the engine needs of its worker.

    Attributes:
        stopping: Whether to finish the slice in hand and gather no more; asked between slices,
            where the worker has a moment to talk to its daemon.
        sleep: Waits some seconds; raises `Abandoned` when the worker is stopping.
        fenced: Told that another client took our id; raises when that happens too often.
        trouble: Told in a few words what is in the way, and None when it is gone.
        clock: Seconds, monotonic.
        now_ms: Milliseconds since the epoch.
        random: 0 to 1.
    """

    stopping: Callable[[], bool]
    sleep: Callable[[float], None]
    fenced: Callable[[str], None]
    trouble: Callable[[str | None], None]
    clock: Callable[[], float]
    now_ms: Callable[[], int]
    random: Callable[[], float]
