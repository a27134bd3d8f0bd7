"""Cancels the calls of async operators when the attempt is told to stop."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from kafka_etl.engine.pools.event_loop import awaited
from kafka_etl.functions.bind import BoundOperator


class Cancelling:
    """The calls in flight; `cancel` may be called by a signal handler.

    Attributes:
        is_cancelled: Whether `cancel` was called: a later call is cancelled where it begins.
    """

    def __init__(self) -> None:
        self._calls: dict[asyncio.Task[Any] | None, asyncio.AbstractEventLoop] = {}
        self.is_cancelled = False

    def can_cancel(self, operator: BoundOperator) -> BoundOperator:
        """The operator; the calls of an async one can be cancelled."""
        if not operator.shape.is_async:
            return operator
        call = operator.call

        async def cancellable(argument: Any) -> Any:
            task = asyncio.current_task()
            self._calls[task] = asyncio.get_running_loop()
            try:
                if self.is_cancelled:  # asked once the call can be found, so that no stop is lost
                    raise asyncio.CancelledError
                return await awaited(call(argument))
            finally:
                del self._calls[task]

        return replace(operator, call=cancellable)

    def cancel(self) -> None:
        """Cancel all calls in flight, and all later ones."""
        self.is_cancelled = True
        for task, loop in list(self._calls.items()):
            if task is not None:
                loop.call_soon_threadsafe(task.cancel)
