"""Tells a single fencing, which passes, from a second daemon that uses the same ids."""

from __future__ import annotations

from collections import deque
from typing import Final

from kafka_etl.errors import Fenced

_TIMES: Final = 3
_WITHIN: Final = 60.0


class Fencing:
    """Counts how often another client took over a worker's id.

    A single fencing can have a harmless cause: a coordinator that waited too long for the worker
    fences the worker, too. Several within a minute mean that two clients share one id, and fence
    each other in turn.
    """

    def __init__(self, member: str, host: str) -> None:
        self._member = member
        self._host = host
        self._times: deque[float] = deque(maxlen=_TIMES)

    def note(self, now: float, reason: str) -> None:
        """Count one fencing.

        Args:
            now: Time on the monotonic clock, in seconds.
            reason: The broker's reason, for the error.

        Raises:
            Fenced: This was the third fencing within 60 s.
        """
        self._times.append(now)
        if len(self._times) == _TIMES and now - self._times[0] < _WITHIN:
            raise Fenced(
                f"another client keeps taking over the id {self._member} from host {self._host} "
                f"({_TIMES} times in {_WITHIN:g} s; the last time: {reason})"
            )
