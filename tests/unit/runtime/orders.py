"""A daemon as HTTP and metrics see it, without one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kafka_etl.contracts import Guarantee, Label
from kafka_etl.dead_letters import Cause, Place
from kafka_etl.errors import KafkaEtlError, UnknownPipeline
from kafka_etl.runtime.daemon.daemon import Rates, View
from kafka_etl.runtime.daemon.order import Order, OrderBook, Verb
from kafka_etl.runtime.daemon.pipelines import PipelineStatus
from kafka_etl.runtime.daemon.state import State
from kafka_etl.runtime.messages import Standing

NOW = 1_700_000_000.0

RUNNING = PipelineStatus(
    name="orders",
    state=State.RUNNING,
    label=Label(Guarantee.EXACTLY_ONCE, "one transaction"),
    workers=2,
    joined=True,
    counters={
        ("records_in", ""): 1000,
        ("records_out", ""): 990,
        ("records_dropped", ""): 7,
        ("dead_letters", "DecodeError"): 1,
        ("dead_letters", "OperatorError"): 2,
        ("bytes_out", ""): 123_456,
        ("commits", ""): 10,
        ("phase_seconds", "operator"): 1.25,
        ("phase_seconds", "commit"): 0.5,
        ("worker_deaths", "killed by SIGSEGV"): 1,
        ("worker_restarts", ""): 1,
    },
    standing=Standing(partitions=2, lag=10, settled_to_ms=int((NOW - 5) * 1000)),
    trouble=None,
    problem=None,
    causes=(
        Cause(
            "c0ffee",
            "OperatorError",
            "to_eur",
            "ValueError: no rate",
            Place("orders", 1, 49),
            count=2,
        ),
    ),
    file="/etc/orders.yaml",
    letters="topic orders.dlq",
)


class FakeOrders:
    """What it is told, and what it answers."""

    def __init__(self, *statuses: PipelineStatus, refusal: KafkaEtlError | None = None) -> None:
        self.statuses = statuses or (RUNNING,)
        self.refusal = refusal
        self.ordered: list[tuple[str, Verb]] = []
        self.book = OrderBook()
        self.carry_out: Callable[[Order], None] = self.succeed
        self.last_tick = time.monotonic()

    @staticmethod
    def succeed(order: Order) -> None:
        order.succeed("running")
        order.tell()

    def view(self) -> View:
        pipelines = {status.name: status for status in self.statuses}
        return View(NOW, "blue", pipelines, dict.fromkeys(pipelines, Rates(512.34, 500.0)))

    def order(self, name: str, verb: Verb) -> Order:
        if name not in {status.name for status in self.statuses}:
            raise UnknownPipeline(f"this daemon runs no pipeline `{name}`")
        if self.refusal is not None:
            raise self.refusal
        self.ordered.append((name, verb))
        order = Order(name, verb)
        self.book.note(order)
        self.carry_out(order)
        return order

    def find_order(self, order_id: str) -> Order:
        return self.book.find(order_id)

    def ticked_at(self) -> float:
        return self.last_tick


def status(name: str, **changes: Any) -> PipelineStatus:
    return replace(RUNNING, name=name, **changes)
