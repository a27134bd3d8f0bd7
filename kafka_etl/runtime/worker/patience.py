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


def until_reached(call: Callable[[], T], waiting: Pulse) -> T:
    """Make a call until the target answers.

    Args:
        call: Asks the target; raises `Unreachable` while the target is away.
        waiting: Called with the obstacle before each further try.

    Raises:
        SinkFailed: The target refuses everybody.
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
            waiting(f"the sink: {said(error)}")
            sleep(_AGAIN)
