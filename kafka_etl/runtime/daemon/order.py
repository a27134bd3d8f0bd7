"""Orders: what is asked of a pipeline from outside, and what comes of that."""

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
    """What may be ordered of a pipeline."""

    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"


class Order:
    """One order to one pipeline, from when it is given until its outcome is known.

    The daemon's main loop carries an order out; whoever gave the order waits in another thread.

    Attributes:
        keeps_pause: Whether a restart leaves a pipeline paused that was told to pause.
        at_ms: When the order was given, on the wall clock.
        progress: What the daemon is doing about the order.
        notes: What whoever gave the order should know besides.
        problem: Why nothing came of the order; None: it is carried out, or still under way.
        settled: Whether the outcome is known to the main loop.
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
        """Wait for the outcome, in any thread but the main loop's; whether the outcome is told."""
        return self._told.wait(seconds)

    def tell(self) -> None:
        """Let those who wait know the outcome: by now the daemon's view shows what came of it."""
        self._told.set()

    def succeed(self, progress: str) -> None:
        if not self.settled:
            self.progress = progress
            self.settled = True

    def fail(self, problem: Problem) -> None:
        """The first outcome of an order stays."""
        if not self.settled:
            self.problem = problem
            self.settled = True

    def refuse(self, why: str, next_step: str = "") -> None:
        what = f"pipeline `{self.pipeline}` {why}"
        self.fail(OrderRefused(what, next_step).problem)


class OrderBook:
    """The latest orders, by their ids: whoever gave one may ask after its outcome."""

    def __init__(self) -> None:
        self._orders: deque[Order] = deque(maxlen=_REMEMBERED)

    def note(self, order: Order) -> None:
        self._orders.append(order)

    def find(self, order_id: str) -> Order:
        """The order of this id.

        Raises:
            OrderRefused: No such order is remembered.
        """
        for order in tuple(self._orders):
            if order.id == order_id:
                return order
        raise OrderRefused(f"this daemon knows no order `{order_id}`")
