"""The thread in which commits are waited for while the next batch is run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import current_thread, main_thread
from typing import Final

_PIECE: Final = 0.1


class CommitThread:
    """Makes one call after the other in a thread of its own.

    Args:
        meanwhile: Called now and then by whoever waits for an outcome: that one thread alone
            talks to the daemon and writes the flight recorder.
    """

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile
        self._thread = ThreadPoolExecutor(1, "commit")

    def begin(self, call: Callable[[], float]) -> _Outcome:
        """See `kafka_etl.engine.stream.commits.Begin`."""
        return _Outcome(self._thread.submit(call), self._meanwhile)

    @staticmethod
    def is_here() -> bool:
        """Whether it is that thread which asks."""
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
