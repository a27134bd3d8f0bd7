"""The pools of a worker's operators: which operator runs where, several records at a time.

Nothing is in flight when `map` returns.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Sequence,
)
from dataclasses import replace
from typing import Any, Protocol

from kafka_etl.engine.pools.event_loop import AsyncLoop
from kafka_etl.engine.pools.lanes import Lanes
from kafka_etl.engine.pools.processes import ProcessPool, Spawn
from kafka_etl.engine.pools.tasks import TaskPool
from kafka_etl.engine.pools.threads import ThreadPool
from kafka_etl.engine.rows.mapping import Mapped
from kafka_etl.functions.bind import BoundOperator, Isolation


class Pools:
    """The pools of a worker's operators, and the event loop of the async ones.

    Args:
        operators: The operators of the pipeline.
        tick: Called for each finished record, as a sign of life.
        spawn: Starts a process for an operator; None: all operators run in this process.
        watching: Called several times a second during waits for processes; an exception ends the
            wait, and the calls are given up.
    """

    def __init__(
        self,
        operators: Sequence[BoundOperator],
        tick: Callable[[], None],
        spawn: Spawn | None = None,
        watching: Callable[[], None] = lambda: None,
    ) -> None:
        self._tick = tick
        self._watching = watching
        self._spawn = spawn
        here = [o for o in operators if spawn is None or o.isolation is Isolation.NONE]
        self._loop = AsyncLoop() if any(o.is_async for o in here) else None
        self._pools = {o.name: pool for o in operators if (pool := self._make(o)) is not None}

    def of(self, operator: BoundOperator) -> Pool | None:
        """None for an operator that is called for one record after the other."""
        return self._pools.get(operator.name)

    def awaited(self, operator: BoundOperator) -> BoundOperator:
        """The operator; an async one for batches with a call that waits for its end.

        One in processes has a call that has it done there.
        """
        pool = self._pools.get(operator.name)
        if isinstance(pool, ProcessPool):
            return replace(operator, call=pool.call)
        if not (operator.shape.is_async and operator.shape.batch):
            return operator
        call = operator.call

        def waiting(values: Any) -> Any:
            return self.resolve(call(values))

        return replace(operator, call=waiting)

    def open(self, operator: BoundOperator) -> None:
        """Call the operator's `open`, in this process or in the operator's own processes."""
        pool = self._pools.get(operator.name)
        if isinstance(pool, ProcessPool):
            pool.open()
        else:
            self.resolve(operator.open())

    def end(self, operator: BoundOperator) -> None:
        """Call the operator's `close`, and raise the error of `close`."""
        pool = self._pools.get(operator.name)
        if isinstance(pool, ProcessPool):
            pool.end()
        else:
            self.resolve(operator.close())

    def resolve(self, made: Any) -> Any:
        """The result of an operator or of a hook, awaited if the result is awaitable."""
        return made if self._loop is None else self._loop.resolve(made)

    def close(self) -> None:
        """Stop idle threads and loops; no call is in flight between two attempts."""
        for pool in self._pools.values():
            pool.close()
        if self._loop is not None:
            self._loop.close()

    def _make(self, operator: BoundOperator) -> Pool | None:
        if self._spawn is not None and operator.isolation is Isolation.PROCESS:
            return ProcessPool(operator, self._spawn, self._watching)
        if operator.shape.batch:
            return None
        if operator.shape.is_async and self._loop is not None:
            size, timeout = operator.concurrency, operator.timeout
            return TaskPool(operator.call, size, self._loop, self._tick, timeout)
        if operator.concurrency > 1:
            return ThreadPool(operator.call, operator.concurrency, self._tick)
        return None


class Pool(Protocol):
    """Maps an operator over a column, several rows at a time."""

    def map(self, column: Sequence[Any], lanes: Lanes) -> Mapped: ...

    def close(self) -> None:
        """Stop idle threads; no call is in flight between two calls of `map`."""
        ...
