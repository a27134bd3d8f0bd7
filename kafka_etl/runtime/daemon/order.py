"""Orders: requests to pause, resume or restart a pipeline, and the outcomes of the requests."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from enum import StrEnum
from typing import Final

from kafka_etl.errors import OrderRefused, Problem

_REMEMBERED: Final = 1000


class Verb(StrEnum):
    """The kinds of orders."""

    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"


class Order:
    """One order to one pipeline, with its progress and its outcome.

    The daemon's main loop carries an order out, and writes the attributes. The thread that gave the
    order waits for the outcome.

    Attributes:
        id: Random id, by which a client asks for the outcome.
        pipeline: Name of the pipeline.
        verb: Kind of the order.
        keeps_pause: Whether a restart leaves a paused pipeline paused.
        at_ms: Time of the order, in milliseconds since the epoch.
        progress: Present state of the order, in words.
        notes: Remarks for the person who gave the order.
        problem: Problem for which the order failed; None: the order is carried out or under way.
        settled: Whether the main loop knows the outcome.
    """

    def __init__(self, pipeline: str, verb: Verb, *, keeps_pause: bool = False) -> None:
        self.id: Final = secrets.token_hex(8)
        self.pipeline: Final = pipeline
        self.verb: Final = verb
        self.keeps_pause: Final = keeps_pause
        self.at_ms: Final = time.time_ns() // 1_000_000
        self.progress = "ordered"
        self.notes: tuple[str, ...] = ()
        self.problem: Problem | None = None
        self.settled = False
        self._told = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait for the outcome and return whether `tell` was called; not for the main thread."""
        return self._told.wait(seconds)

    def tell(self) -> None:
        """Wake the waiting threads; the main loop calls this once its view shows the outcome."""
        self._told.set()

    def succeed(self, progress: str) -> None:
        if not self.settled:
            self.progress = progress
            self.settled = True

    def fail(self, problem: Problem) -> None:
        """Settle the order with a problem; a settled order keeps its first outcome."""
        if not self.settled:
            self.problem = problem
            self.settled = True

    def refuse(self, why: str, next_step: str = "") -> None:
        what = f"pipeline `{self.pipeline}` {why}"
        self.fail(OrderRefused(what, next_step).problem)


class OrderBook:
    """The latest thousand orders, so that a client can ask for an outcome by the order's id."""

    def __init__(self) -> None:
        self._orders: deque[Order] = deque(maxlen=_REMEMBERED)

    def note(self, order: Order) -> None:
        self._orders.append(order)

    def find(self, order_id: str) -> Order:
        """Return the order of this id; called in any thread.

        Raises:
            OrderRefused: The book has no order of this id.
        """
        for order in tuple(self._orders):
            if order.id == order_id:
                return order
        raise OrderRefused(f"this daemon knows no order `{order_id}`")
