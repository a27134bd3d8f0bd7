"""The tasks of each route, where those of one route run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from kafka_etl.tasks.head import Head

Place = tuple[int, str]
"""Offset of a task's submission in the inbox, and the task's id."""


class Routes:
    """The places of tasks in their routes, in the order of their submissions.

    Args:
        holds: Says whether a task still has the place; one that has not is passed over.
    """

    def __init__(self, holds: Callable[[int, str], bool]) -> None:
        self._holds = holds
        self._places: dict[str, list[Place]] = {}

    def join(self, head: Head) -> None:
        """Give a task its place; places are given in their order but for a take-over."""
        heappush(self._places.setdefault(head.route, []), (head.seq, head.id))

    def first(self, route: str) -> Place | None:
        """The place in a route whose turn it is; None: there is none."""
        places = self._places.get(route)
        while places:
            if self._holds(*places[0]):
                return places[0]
            heappop(places)
        self._places.pop(route, None)
        return None

    def tidy(self, routes: Iterable[str]) -> None:
        """Take back the places that tasks of these routes have no more."""
        for route in routes:
            held = {place for place in self._places.get(route, ()) if self._holds(*place)}
            if held:
                self._places[route] = sorted(held)
            else:
                self._places.pop(route, None)
