"""Waiting, before any worker runs, for a sink's target that is away."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Final, TypeVar

from kafka_etl.contracts import Pulse, Unreachable
from kafka_etl.engine.sinks.connection import said
from kafka_etl.errors import SinkFailed

T = TypeVar("T")

_AGAIN: Final = 1.0
_MENDABLE: Final = 10.0
"""Seconds to wait for a target that refuses everybody: a wrong password does not mend itself."""


def until_reached(call: Callable[[], T], waiting: Pulse, *, patience: float | None = None) -> T:
    """Make a call until the target answers.

    Args:
        call: Asks the target; raises `Unreachable` while the target is away.
        waiting: Called with the obstacle before each further try.
        patience: Seconds to wait for a target that is away; None: for ever.

    Raises:
        SinkFailed: The target refuses everybody, or stays away.
        Exception: Whatever else the call raises.
    """
    started = monotonic()
    while True:
        try:
            return call()
        except Unreachable as error:
            if error.mend and monotonic() - started > _MENDABLE:
                raise SinkFailed(
                    f"the sink's target refuses: {said(error)}",
                    "Correct the settings of the sink, or the rights at its target.",
                ) from error
            if patience is not None and monotonic() - started > patience:
                raise SinkFailed(
                    f"the sink's target is away: {said(error)}",
                    "Start it, or correct the settings of the sink; a pipeline would wait.",
                ) from error
            waiting(f"the sink: {said(error)}")
            sleep(_AGAIN)
