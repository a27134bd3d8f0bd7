"""Passes on the progress of an attempt: changes only, and not too often."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock, Timer
from time import monotonic
from typing import Final

_EVERY: Final = 0.25
_LONGEST: Final = 200
"""Characters of a text."""


class Reporter:
    """Passes on progress; the last report of a burst is passed on as well, a little later.

    Args:
        tell: Takes fraction and text; called from any thread, once at a time.
        every: Seconds between two reports that are passed on.
    """

    def __init__(self, tell: Callable[[float, str], None], every: float = _EVERY) -> None:
        self._tell = tell
        self._every = every
        self._lock = Lock()
        self._told: tuple[float, str] | None = None
        self._latest: tuple[float, str] | None = None
        self._next = 0.0
        self._timer: Timer | None = None
        self._is_closed = False
        self._pid = os.getpid()

    def report(self, fraction: float, text: str = "") -> None:
        """Pass a report on, now or once the last one is old enough."""
        if os.getpid() != self._pid:
            return  # a fork of the operator's, which has neither our timer nor our connection
        latest = (min(1.0, max(0.0, float(fraction))), str(text)[:_LONGEST])
        with self._lock:
            self._latest = latest
            if self._timer is not None or self._is_closed:
                return
            wait = self._next - monotonic()
            if wait <= 0:
                self._pass_on()
            elif latest != self._told:
                self._timer = Timer(wait, self._pass_on_late)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Pass nothing on from now."""
        with self._lock:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()

    def _pass_on_late(self) -> None:
        with self._lock:
            self._timer = None
            if not self._is_closed:
                self._pass_on()

    def _pass_on(self) -> None:
        if self._latest is not None and self._latest != self._told:
            self._told = self._latest
            self._next = monotonic() + self._every
            self._tell(*self._told)
