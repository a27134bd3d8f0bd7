"""Async operators as tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    Callable,
    Sequence,
)
from math import inf
from time import monotonic
from typing import Any, Final

from kafka_etl.engine.pools.event_loop import AsyncLoop, awaited
from kafka_etl.engine.pools.lanes import Lanes, by_row, rows_of
from kafka_etl.engine.rows.mapping import FAILED, Mapped, escaped
from kafka_etl.errors import OperatorTimeout
from kafka_etl.units import show_duration

_LOOK_EVERY: Final = 0.25
"""Seconds between two looks at the calls in flight."""
_CANCELLING: Final = 5.0
"""Seconds that a cancelled call may take to end, before the worker counts as standing still."""


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
        calls = [_Call() for _ in range(min(self._size, len(lanes)))]

        async def work(call: _Call) -> None:
            for row in rows_of(todo):
                call.takes()
                try:
                    results[row] = await awaited(self._call(column[row]))
                    await _own_cancellation(call)
                except BaseException as error:  # noqa: BLE001 - whatever it raises is its record's
                    results[row] = FAILED
                    failed.append((row, self._meaning(error, call)))
                call.is_done()

        tasks = [asyncio.ensure_future(work(call)) for call in calls]
        watch = asyncio.ensure_future(self._watch(calls, tasks))
        await asyncio.gather(*tasks)
        watch.cancel()
        return results, sorted(failed, key=by_row)

    async def _watch(self, calls: list[_Call], tasks: list[asyncio.Task[None]]) -> None:
        """Cancel calls that take too long; one watch for all costs a third of a timeout for each.

        The watch also ticks for the worker, unless a call blocks the loop or has survived its
        cancellation: the daemon then kills the worker, as for a blocking operator.
        """
        limit = inf if self._timeout is None else self._timeout
        while True:
            await asyncio.sleep(min(_LOOK_EVERY, limit / 10))
            now = monotonic()
            if all(now - call.since <= limit + _CANCELLING for call in calls):
                self._tick()
            for call, task in zip(calls, tasks, strict=True):
                if now - call.since > limit:
                    call.late = task
                    task.cancel()

    def _meaning(self, error: BaseException, call: _Call) -> BaseException:
        if not (issubclass(type(error), asyncio.CancelledError) and call.late):
            return escaped(error)
        said = show_duration(self._timeout or 0.0)
        late = OperatorTimeout(f"it took longer than {said}, and was cancelled")
        late.__cause__ = error
        return late


async def _own_cancellation(call: _Call) -> None:
    """Have a call that cancelled its own task meet the cancellation, and no later call."""
    task = asyncio.current_task()
    if task is not None and task.cancelling() and call.late is None:
        task.uncancel()
        await asyncio.sleep(0)


class _Call:
    """The call that one task has in flight, and when the call began."""

    __slots__ = ("late", "since")

    def __init__(self) -> None:
        self.since = inf
        self.late: asyncio.Task[None] | None = None

    def takes(self) -> None:
        self.since = monotonic()

    def is_done(self) -> None:
        """The call has ended; a cancellation that came too late is taken back."""
        self.since = inf
        if self.late is not None:
            self.late.uncancel()
            self.late = None
