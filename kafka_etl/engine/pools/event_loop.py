"""The asyncio loop of the async operators of a worker."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncIterator,
    Coroutine,
)
from threading import Thread
from typing import Any, TypeGuard, TypeVar

T = TypeVar("T")


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
        """The result of an operator or a hook, awaited if the result is awaitable."""
        return self.run(awaited(made)) if _is_async(made) else made

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()


def _is_async(made: Any) -> bool:
    return inspect.isawaitable(made) or _is_iterator(made)


def _is_iterator(made: object) -> TypeGuard[AsyncIterator[Any]]:
    return isinstance(made, AsyncIterator)


async def awaited(made: Any) -> Any:
    if _is_iterator(made):
        return [item async for item in made]
    return await made
