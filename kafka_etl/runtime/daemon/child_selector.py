"""Waits for many child processes at once; the cost grows with the children that send."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from kafka_etl.runtime.child import Child

_READ: Final = selectors.EVENT_READ
_WRITE: Final = selectors.EVENT_WRITE

Listeners = Mapping[Child, Callable[[], bool]]
"""Child -> a function that takes in the child's values and returns whether the state is new.

A function returns False if only counters and lags have changed.
"""


class ChildSelector:
    """Waits for children with a system selector, which keeps its list between two waits."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._followed: dict[int, tuple[Child, int]] = {}

    def listen(
        self, listeners: Listeners, until: float, clock: Callable[[], float] = time.monotonic
    ) -> bool:
        """Call the listeners of children that send, until `until` or until a listener returns True.

        Args:
            listeners: The children to wait for.
            until: Time on `clock` at which the wait ends.
            clock: Clock in seconds.

        Returns:
            Whether a listener returned True.
        """
        self._follow(listeners)
        while (left := until - clock()) > 0:
            changed = [listeners[child]() for child in self._ready(left)]
            if any(changed):
                return True
        return False

    def close(self) -> None:
        self._selector.close()

    def _follow(self, children: Iterable[Child]) -> None:
        """Register these children and no others, without the children that hung up."""
        wanted = {
            child.mailbox.fileno(): (child, _READ | (_WRITE if child.mailbox.has_unsent else 0))
            for child in children
            if not child.mailbox.is_closed
        }
        if wanted == self._followed:
            return
        for number, followed in self._followed.items():
            if wanted.get(number) != followed:  # the number may belong to a new child
                self._selector.unregister(number)
        for number, (child, interest) in wanted.items():
            if self._followed.get(number) != (child, interest):
                self._selector.register(number, interest, child)
        self._followed = wanted

    def _ready(self, seconds: float) -> list[Child]:
        """Return the children that have sent bytes or hung up, after at most `seconds`.

        Unsent bytes are sent to children whose sockets have become writable.
        """
        heard: list[Child] = []
        for key, happened in self._selector.select(seconds):
            child: Child = key.data
            if happened & _WRITE:
                child.mailbox.flush()
                if not child.mailbox.has_unsent:
                    self._selector.modify(key.fd, _READ, child)
                    self._followed[key.fd] = (child, _READ)
            if happened & _READ:
                heard.append(child)
        return heard
