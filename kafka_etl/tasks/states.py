"""The states of a task."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a task stands.

    `RETRYING` waits for the time of its next attempt. `STOPPING` waits for the end of its attempt,
    which was told to stop. `DELIVERING` has its outcome, and waits until the destinations outside
    of the cluster have acknowledged.
    """

    ENQUEUED = "Enqueued"
    DEQUEUED = "Dequeued"
    RUNNING = "Running"
    RETRYING = "Retrying"
    STOPPING = "Stopping"
    DELIVERING = "Delivering"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    STOPPED = "Stopped"
    EXPIRED = "Expired"
    INVALID = "Invalid"


FINAL: Final = frozenset(
    {State.SUCCEEDED, State.FAILED, State.STOPPED, State.EXPIRED, State.INVALID}
)
OPEN: Final = frozenset(State) - FINAL
WAITING: Final = frozenset({State.ENQUEUED, State.RETRYING})
HELD: Final = frozenset({State.DEQUEUED, State.RUNNING, State.STOPPING})
"""States in which an executor holds the task's token."""
