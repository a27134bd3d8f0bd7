"""Waiting for many children at once, at the cost of those that have something to say."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from kafka_etl.runtime.child import Child

_READ: Final = selectors.EVENT_READ
_WRITE: Final = selectors.EVENT_WRITE

Listeners = Mapping[Child, Callable[[], bool]]
"""What hears a child, and tells whether more than its figures is new."""


class ChildSelector:
    """The system keeps the list of children between two waits."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._followed: dict[int, tuple[Child, int]] = {}

    def listen(
        self, listeners: Listeners, until: float, clock: Callable[[], float] = time.monotonic
    ) -> bool:
        """Hear the children that speak; returns early, and True, if one says that it has changed.

        Only their listeners are called: 64 children with a word each cost 64 calls.
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
        """Wait for these from now on, and for no others; one that has hung up says no more."""
        wanted = {
            child.mailbox.fileno(): (child, _READ | (_WRITE if child.mailbox.has_unsent else 0))
            for child in children
            if not child.mailbox.is_closed
        }
        if wanted == self._followed:
            return
        for number, followed in self._followed.items():
            if wanted.get(number) != followed:  # another child may have its number by now
                self._selector.unregister(number)
        for number, (child, interest) in wanted.items():
            if self._followed.get(number) != (child, interest):
                self._selector.register(number, interest, child)
        self._followed = wanted

    def _ready(self, seconds: float) -> list[Child]:
        """Children that have said something or hung up, as soon as there are any.

        A child with room for what is unsent is sent more of it.
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
