"""The states of a pipeline as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from kafka_etl.errors import BreakerTripped
from kafka_etl.runtime.messages import Snapshot


class State(StrEnum):
    """The state of a pipeline, as people and metrics see it."""

    PREFLIGHT = "preflight"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    BREAKER = "paused: breaker"
    DRAINING = "draining"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    FENCED = "fenced"


HELD: Final = frozenset({State.PAUSED, State.BREAKER})
OVER: Final = frozenset({State.FINISHED, State.STOPPED, State.FAILED, State.FENCED})


def state_of(workers: Iterable[Snapshot]) -> State:
    """Return the state of a running pipeline from the latest reports of its workers."""
    said = list(workers)
    paused = [worker.problem for worker in said if worker.state == "paused"]
    if any(problem and problem.code == BreakerTripped.code for problem in paused):
        return State.BREAKER
    if paused:
        return State.PAUSED
    return State.RUNNING if any(w.state == "running" for w in said) else State.STARTING
