"""The thread that waits for a commit while the main thread runs the next batch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import current_thread, main_thread
from typing import Final

_PIECE: Final = 0.1


class CommitThread:
    """Runs calls one after the other in a thread of its own.

    Args:
        meanwhile: Called several times a second in the main thread while the main thread waits for
            a call's result: only the main thread talks to the daemon and writes the flight
            recorder.
    """

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile
        self._thread = ThreadPoolExecutor(1, "commit")

    def begin(self, call: Callable[[], float]) -> _Outcome:
        """Start a call on the commit thread; implements `SubmitCommit` of the stream engine."""
        return _Outcome(self._thread.submit(call), self._meanwhile)

    @staticmethod
    def is_here() -> bool:
        """Whether the caller runs in the commit thread, that is, outside the main thread."""
        return current_thread() is not main_thread()

    def close(self) -> None:
        self._thread.shutdown()


class _Outcome:
    def __init__(self, future: Future[float], meanwhile: Callable[[], None]) -> None:
        self._future = future
        self._meanwhile = meanwhile

    def result(self) -> float:
        while not wait([self._future], _PIECE).done:
            self._meanwhile()
        return self._future.result()
