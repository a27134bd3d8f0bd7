"""The one loop of a keeper: waits for many descriptors, and calls who asked for them."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

_READ: Final = selectors.EVENT_READ
_BOTH: Final = selectors.EVENT_READ | selectors.EVENT_WRITE


class Loop:
    """Descriptors and signals, with the functions to call for them; nothing here blocks but `turn`.

    Attributes:
        signals: Signals that have arrived and that nobody has taken out.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._masks: dict[int, int] = {}
        self.signals: set[int] = set()
        self._wakes, self._waker = socket.socketpair()
        self._wakes.setblocking(False)
        self._waker.setblocking(False)
        self.watch(self._wakes.fileno(), self._wake_up)

    def follow_signals(self, *numbers: signal.Signals) -> None:
        """Note these signals in `signals`; each ends the wait of `turn`."""

        def note(number: int, _frame: FrameType | None) -> None:
            self.signals.add(number)

        for number in numbers:
            signal.signal(number, note)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def watch(self, file: int, then: Callable[[], None], *, write: bool = False) -> None:
        """Call `then` when there is something to read or, with `write`, room to write."""
        mask = _BOTH if write else _READ
        known = self._masks.get(file)
        if known is None:
            self._selector.register(file, mask, then)
        elif known != mask:
            self._selector.modify(file, mask, then)
        self._masks[file] = mask

    def forget(self, file: int) -> None:
        """Call nothing for this descriptor any more; to be called before it is closed."""
        if self._masks.pop(file, None) is not None:
            self._selector.unregister(file)

    def turn(self, timeout: float | None) -> None:
        """Wait, at most so many seconds, and call what is due."""
        for key, _ in self._selector.select(timeout):
            if key.fd in self._masks:  # unless a call before this one has forgotten it
                key.data()

    def _wake_up(self) -> None:
        with suppress(BlockingIOError):
            while self._wakes.recv(4096):
                pass
