"""The thread on which the sink is called, while the main thread serves the source."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread, current_thread, main_thread
from typing import Any, Final, Generic, TypeVar, cast

T = TypeVar("T")

_LAST: Final = 5.0
"""Seconds that a call may still take when the worker ends; then the call is left behind."""


class CommitThread:
    """Runs calls one after the other in a thread of its own.

    A daemon thread: a call that never ends, in a target's client, does not keep the process alive.

    Args:
        meanwhile: Called several times a second in the main thread while the main thread waits for
            a call's end: only the main thread talks to the daemon and writes the flight recorder.
            May raise `Abandoned`.
    """

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile
        self._calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._last: _Call[Any] | None = None
        self._thread = Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], T], /) -> _Call[T]:
        """Start a call on the commit thread; implements `Submit` of the stream engine."""
        submitted = _Call(call, self._meanwhile)
        self._last = submitted
        self._calls.put(submitted)
        return submitted

    @property
    def is_busy(self) -> bool:
        """Whether a call has not ended yet."""
        return self._last is not None and not self._last.ended_already

    @staticmethod
    def is_here() -> bool:
        """Whether the caller runs in the commit thread, that is, outside the main thread."""
        return current_thread() is not main_thread()

    def close(self) -> None:
        """End the thread after the calls under way; wait for them a few seconds."""
        self._calls.put(None)
        self._thread.join(_LAST)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()


class _Call(Generic[T]):
    """A call that runs, or has ended, on the commit thread."""

    def __init__(self, call: Callable[[], T], meanwhile: Callable[[], None]) -> None:
        self._call = call
        self._meanwhile = meanwhile
        self._ended = Event()
        self._result: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self._error = error
        self._ended.set()

    @property
    def ended_already(self) -> bool:
        return self._ended.is_set()

    def ended(self, seconds: float) -> bool:
        if self._ended.wait(seconds):
            return True
        self._meanwhile()
        return False

    def result(self) -> T:
        self._ended.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return cast("T", self._result)  # a call without an error has returned
