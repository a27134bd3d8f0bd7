"""Calling a slow operator for many records at once, in order where order counts.

Order is about execution: two records of one lane never run at the same time, and run in the order
of their offsets. Results are put where their records stand, so outputs are always in source order.
Nothing is in flight when `map` returns.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Hashable,
    Iterator,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf
from threading import Thread
from time import monotonic
from typing import Any, Final, Protocol, TypeGuard, TypeVar

from kafka_etl.engine.pools.processes import ProcessPool, Spawn
from kafka_etl.engine.rows.mapping import FAILED, Mapped, escaped, exhausted
from kafka_etl.errors import OperatorTimeout
from kafka_etl.functions.bind import BoundOperator, Isolation, Order
from kafka_etl.record import SourceRecord
from kafka_etl.units import show_duration

T = TypeVar("T")

_LOOK_EVERY: Final = 0.25
"""Seconds between looks at what is in hand."""

Lanes = Sequence[Sequence[int]]
"""Rows that run one after the other."""


def lanes(sources: Sequence[SourceRecord | None], order: Order) -> Lanes:
    """The rows of each lane, longest first, so that none is left alone at the end.

    Records without a key have no order among each other; those that belong to all records of
    their batch (None) share a lane.
    """
    if order is Order.NONE:
        return [[row] for row in range(len(sources))]
    by_lane: dict[Hashable, list[int]] = {}
    for row, source in enumerate(sources):
        by_lane.setdefault(_lane(source, order, row), []).append(row)
    return sorted(by_lane.values(), key=len, reverse=True)


def _lane(source: SourceRecord | None, order: Order, row: int) -> Hashable:
    if source is None:
        return None
    if order is Order.PARTITION:
        return source.topic(), source.partition()
    key = source.key()
    return row if key is None else key


class Pools:
    """The pools of a worker's operators, and the event loop of the async ones.

    Args:
        operators: Those of the pipeline.
        tick: Told of each record that is done.
        spawn: Starts a process for an operator; None: they all run in this one.
        watching: Called several times a second while processes are waited for; what it raises
            ends the wait, and their calls are given up.
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
        """Make it ready, wherever it runs."""
        pool = self._pools.get(operator.name)
        if isinstance(pool, ProcessPool):
            pool.open()
        else:
            self.resolve(operator.open())

    def end(self, operator: BoundOperator) -> None:
        """It is called no more; raises what its `close` does."""
        pool = self._pools.get(operator.name)
        if isinstance(pool, ProcessPool):
            pool.end()
        else:
            self.resolve(operator.close())

    def resolve(self, made: Any) -> Any:
        """What an operator or one of its hooks gave, awaited if need be."""
        return made if self._loop is None else self._loop.resolve(made)

    def close(self) -> None:
        """Nothing is in flight between two attempts; what idles goes."""
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
        """Nothing is in flight between two calls of `map`; what idles goes."""
        ...


class ThreadPool:
    """Blocking calls in threads.

    Args:
        call: The operator.
        size: Threads.
        tick: Told of each record that is done.
    """

    def __init__(self, call: Callable[[Any], Any], size: int, tick: Callable[[], None]) -> None:
        self._call = call
        self._size = size
        self._tick = tick
        self._pool = ThreadPoolExecutor(size, "operator")

    def map(self, column: Sequence[Any], lanes: Lanes) -> Mapped:
        results: list[Any] = [FAILED] * len(column)
        failed: list[tuple[int, BaseException]] = []
        todo = deque(lanes)

        def work() -> None:
            for row in _rows(todo):
                try:
                    results[row] = exhausted(self._call(column[row]))
                except BaseException as error:  # noqa: BLE001 - whatever it raises is its record's
                    failed.append((row, escaped(error)))
                self._tick()

        hands = [self._pool.submit(work) for _ in range(min(self._size, len(lanes)))]
        for hand in hands:
            hand.result()
        return results, sorted(failed, key=_row)

    def close(self) -> None:
        self._pool.shutdown()


class AsyncLoop:
    """One asyncio loop in a thread of its own, for all async operators of a worker."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="asyncio", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end, from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def resolve(self, made: Any) -> Any:
        """What an operator or a hook gave, awaited if need be."""
        return self.run(_awaited(made)) if _is_async(made) else made

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()


class TaskPool:
    """Coroutines in an event loop.

    Args:
        call: The operator: a coroutine function, or an async generator.
        size: How many run at the same time.
        timeout: Seconds after which one is cancelled.
        tick: Told several times a second that the loop is alive.
    """

    def __init__(
        self,
        call: Callable[[Any], Any],
        size: int,
        loop: AsyncLoop,
        tick: Callable[[], None],
        timeout: float | None = None,
    ) -> None:
        self._call = call
        self._size = size
        self._loop = loop
        self._tick = tick
        self._timeout = timeout

    def map(self, column: Sequence[Any], lanes: Lanes) -> Mapped:
        return self._loop.run(self._map(column, lanes))

    def close(self) -> None:
        """The loop is its worker's."""

    async def _map(self, column: Sequence[Any], lanes: Lanes) -> Mapped:
        results: list[Any] = [FAILED] * len(column)
        failed: list[tuple[int, BaseException]] = []
        todo = deque(lanes)
        hands = [_Hand() for _ in range(min(self._size, len(lanes)))]

        async def work(hand: _Hand) -> None:
            for row in _rows(todo):
                hand.takes()
                try:
                    results[row] = await _awaited(self._call(column[row]))
                except BaseException as error:  # noqa: BLE001 - whatever it raises is its record's
                    failed.append((row, self._meaning(error, hand)))
                hand.is_done()

        tasks = [asyncio.ensure_future(work(hand)) for hand in hands]
        watch = asyncio.ensure_future(self._watch(hands, tasks))
        await asyncio.gather(*tasks)
        watch.cancel()
        return results, sorted(failed, key=_row)

    async def _watch(self, hands: list[_Hand], tasks: list[asyncio.Task[None]]) -> None:
        """Cancel what takes too long; one watch for all costs a third of a timeout for each.

        It ticks, too: it would not, if something blocked the loop.
        """
        limit = inf if self._timeout is None else self._timeout
        while True:
            await asyncio.sleep(min(_LOOK_EVERY, limit / 10))
            self._tick()
            for hand, task in zip(hands, tasks, strict=True):
                if monotonic() - hand.since > limit:
                    hand.late = task
                    task.cancel()

    def _meaning(self, error: BaseException, hand: _Hand) -> BaseException:
        if not (isinstance(error, asyncio.CancelledError) and hand.late):
            return escaped(error)
        said = show_duration(self._timeout or 0.0)
        late = OperatorTimeout(f"it took longer than {said}, and was cancelled")
        late.__cause__ = error
        return late


class _Hand:
    """What one task has in hand, and since when."""

    __slots__ = ("late", "since")

    def __init__(self) -> None:
        self.since = inf
        self.late: asyncio.Task[None] | None = None

    def takes(self) -> None:
        self.since = monotonic()

    def is_done(self) -> None:
        """Whatever the cancelling was for, it is over."""
        self.since = inf
        if self.late is not None:
            self.late.uncancel()
            self.late = None


def _rows(todo: deque[Sequence[int]]) -> Iterator[int]:
    """Rows of one lane after the other, until none is left; `popleft` needs no lock."""
    while True:
        try:
            lane = todo.popleft()
        except IndexError:
            return
        yield from lane


def _row(failed: tuple[int, BaseException]) -> int:
    return failed[0]


def _is_async(made: Any) -> bool:
    return inspect.isawaitable(made) or _is_iterator(made)


def _is_iterator(made: object) -> TypeGuard[AsyncIterator[Any]]:
    return isinstance(made, AsyncIterator)


async def _awaited(made: Any) -> Any:
    if _is_iterator(made):
        return [item async for item in made]
    return await made
