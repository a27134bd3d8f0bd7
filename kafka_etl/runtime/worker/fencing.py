"""Telling a passing fence from another daemon under the same name."""

from __future__ import annotations

from collections import deque
from typing import Final

from kafka_etl.errors import Fenced

_TIMES: Final = 3
_WITHIN: Final = 60.0


class Fencing:
    """Counts how often another client took a worker's id.

    Once may be our own doing: a coordinator that waited too long for us looks the same. Again and
    again means that two are at it, each throwing the other out.
    """

    def __init__(self, member: str, host: str) -> None:
        self._member = member
        self._host = host
        self._times: deque[float] = deque(maxlen=_TIMES)

    def note(self, now: float, reason: str) -> None:
        """It happened.

        Raises:
            Fenced: Too often.
        """
        self._times.append(now)
        if len(self._times) == _TIMES and now - self._times[0] < _WITHIN:
            raise Fenced(
                f"another client keeps taking over the id {self._member} from host {self._host} "
                f"({_TIMES} times in {_WITHIN:g} s; the last time: {reason})"
            )
