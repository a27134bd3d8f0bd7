"""The rules of a pipeline in task mode that decide what a word does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kafka_etl.retry import Backoff
from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Submit

OnDuplicate = Literal["drop", "reject", "rerun"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules.

    Attributes:
        max_attempts: Attempts of one generation that count.
        backoff: Waits before further attempts.
        idempotent: Whether an attempt that may have begun may be followed by another.
        window_ms: How long the id of a final task is taken, from its acceptance on.
        on_duplicate: What becomes of a submission whose id is taken.
        max_age_ms: How old a task may become before it starts; None: as old as it likes.
        max_interruptions: Ends by shutdown or lost lease that are too many for one generation.
        max_joint: Likewise, of ends together with others of the same executor.
        history_ms: How long the history of a final task is kept.
        history_max: Number of final tasks that are kept.
        outside: Outcome without success -> names of its destinations outside of the cluster.
    """

    max_attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    idempotent: bool = True
    window_ms: int = 7 * 86_400_000
    on_duplicate: OnDuplicate = "drop"
    max_age_ms: int | None = None
    max_interruptions: int = 10
    max_joint: int = 10
    history_ms: int = 7 * 86_400_000
    history_max: int = 1_000_000
    outside: Mapping[State, tuple[str, ...]] = field(default_factory=dict[State, tuple[str, ...]])

    def expires_ms(self, word: Submit) -> int:
        """When a task that has not started expires, by the time of its record; 0: never."""
        if self.max_age_ms is None:
            return 0
        stamp = word.origin.timestamp if word.origin is not None else -1
        return (stamp if stamp >= 0 else word.accepted_ms) + self.max_age_ms


@dataclass(frozen=True, slots=True)
class Moment:
    """When, and where, a word is taken.

    Attributes:
        now_ms: The owner's time, in milliseconds since the epoch.
        offset: Offset of the word in the inbox; -1: the owner says it to itself.
        chance: A random number from 0 to 1, for waits.
    """

    now_ms: int
    offset: int = -1
    chance: float = 1.0
