"""What an attempt may change in its process, and the next attempt must not meet."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO

from kafka_etl.runtime.tasks.exchange import STACKS

_OURS: Final = (signal.SIGTERM, signal.SIGINT)
_STANDARD: Final = (0, 1, 2)
_ERRORS: Final = 2
_FIXED: Final = {signal.SIGKILL, signal.SIGSTOP}
Handlers = Mapping[int, Any]


def handlers_of_ours() -> Handlers:
    """Signal -> handler, of the signals by which the keeper speaks to an attempt."""
    return {number: signal.getsignal(number) for number in _OURS}


class Surroundings:
    """The process as the first attempt finds it.

    Args:
        handlers: Signal -> the handler of ours, whatever the operator's `open` has set.
    """

    def __init__(self, handlers: Handlers) -> None:
        found: dict[int, Any] = {n: signal.getsignal(n) for n in signal.valid_signals() - _FIXED}
        self._handlers = {**found, **handlers}
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._environment = dict(os.environb)
        self._folder = Path.cwd()
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        self._files = _files()
        self._streams = _streams()

    def restore(self) -> bool:
        """Restore all that can be restored; return whether this is everything.

        These are signal handlers and blocked signals, timers, working directory, umask, environment
        and standard streams. What is done to the standard descriptors stays done.
        """
        self._restore_signals()
        os.umask(self._umask)
        with suppress(OSError):
            os.chdir(self._folder)
        self._restore_environment()
        sys.stdin, sys.stdout, sys.stderr = self._streams
        return _files() == self._files and not any(stream.closed for stream in self._streams)

    def _restore_environment(self) -> None:
        """Set what has changed: to set all variables would take as long as a short attempt."""
        found = dict(os.environb)  # bytes: to decode them all would take longer than the rest
        for name in found.keys() - self._environment.keys():
            del os.environb[name]
        for name, value in self._environment.items() - found.items():
            os.environb[name] = value

    def _restore_signals(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None is a handler that was not set by Python, as those of `faulthandler` are.
        changed = {n: h for n, h in self._handlers.items() if signal.getsignal(n) != h}
        for number, handler in changed.items():
            if handler is not None:
                signal.signal(number, handler)
        if changed.keys() - set(_OURS):
            faulthandler.enable(_ERRORS)  # not what stands in place of `sys.stderr` by now
            faulthandler.register(signal.SIGUSR1, file=STACKS)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)


def _files() -> list[tuple[int, int] | None]:
    """What the standard descriptors are; None: one is closed."""
    found: list[tuple[int, int] | None] = []
    for number in _STANDARD:
        try:
            told = os.fstat(number)
        except OSError:
            found.append(None)
        else:
            found.append((told.st_dev, told.st_ino))
    return found


def _streams() -> tuple[TextIO, TextIO, TextIO]:
    return sys.stdin, sys.stdout, sys.stderr
