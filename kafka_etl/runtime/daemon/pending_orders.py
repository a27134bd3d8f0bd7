"""Settles the pending orders of a pipeline by the pipeline's state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kafka_etl.errors import OrderRefused, Problem
from kafka_etl.log import get_logger
from kafka_etl.runtime.daemon.order import Order, Verb
from kafka_etl.runtime.daemon.state import HELD, OVER, State
from kafka_etl.runtime.messages import Snapshot

_AGAIN_MS: Final = 1000
"""Age of a resume, in milliseconds, after which a paused worker has paused again by itself."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The state of a pipeline, as far as orders depend on the state.

    Attributes:
        state: State of the pipeline as a whole.
        problem: Problem that stopped the pipeline; None: there is none.
        trouble: Obstacle that the pipeline waits for; None: there is none.
        workers: Latest report of each worker; None: no report of the present process yet.
        begins_again: Whether a new version is checked or waits for its place.
        restarts_again: Whether another restart has been ordered.
    """

    state: State
    problem: Problem | None
    trouble: str | None
    workers: Sequence[Snapshot | None]
    begins_again: bool
    restarts_again: bool = False


class PendingOrders:
    """The pending orders of one pipeline: at most one restart, and one pause or resume."""

    def __init__(self) -> None:
        self.restart: Order | None = None
        self._pause: Order | None = None

    def __bool__(self) -> bool:
        return self.restart is not None or self._pause is not None

    def hold(self, order: Order) -> None:
        """Note a pause or a resume, and refuse the pending one before."""
        if self._pause is not None:
            self._pause.refuse(f"has been told to {order.verb} in between")
        order.progress = "pausing" if order.verb is Verb.PAUSE else "resuming"
        self._pause = order

    def refuse(self, why: str) -> None:
        """Refuse all pending orders."""
        for order in (self.restart, self._pause):
            if order is not None:
                order.refuse(why)
        self.restart = self._pause = None

    def settle(self, outlook: Outlook) -> None:
        """Settle the orders whose outcome follows from the pipeline's state."""
        if self.restart is not None:
            _settle_restart(self.restart, outlook)
            self.restart = None if self.restart.settled else self.restart
        if self._pause is not None:
            _settle_pause(self._pause, outlook)
            self._pause = None if self._pause.settled else self._pause


def advice(order: Order, state: State) -> str:
    """Return the next command to type for a pipeline that has ended; empty for any other state."""
    return f"`kafka-etl restart {order.pipeline}` starts it anew." if state in OVER else ""


def _settle_restart(order: Order, outlook: Outlook) -> None:
    """Settle a restart: the restart succeeds once the new version runs, pauses or finishes."""
    state = outlook.state
    if outlook.begins_again:
        return
    if state in OVER and state is not State.FINISHED:
        ended = OrderRefused(f"pipeline `{order.pipeline}` is {state}").problem
        order.fail(outlook.problem or ended)
    elif state in OVER or state is State.RUNNING or state in HELD:
        for note in order.notes:
            get_logger("daemon", pipeline=order.pipeline).warning(note)
        order.succeed(state)
    elif outlook.restarts_again:
        order.succeed(f"{state}, and is restarted by another order")
    else:
        order.progress = f"{state}: {outlook.trouble}" if outlook.trouble else state


def _settle_pause(order: Order, outlook: Outlook) -> None:
    """Settle a pause, when all workers are paused, or a resume, when no worker is paused."""
    state = outlook.state
    held = [said for said in outlook.workers if said is not None and said.state == "paused"]
    if state in OVER and not outlook.begins_again:
        order.refuse(f"is {state}", advice(order, state))
    elif order.verb is Verb.RESUME:
        again = next((s.problem for s in held if s.at_ms > order.at_ms + _AGAIN_MS), None)
        if not held:
            order.succeed(state)
        elif again is not None:
            order.fail(again)
    elif state is State.PREFLIGHT:
        order.succeed(f"{state}, to be paused")
    elif len(held) == len(outlook.workers):
        order.succeed(state)
