"""Blocking operators in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import (
    Callable,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kafka_etl.engine.pools.lanes import Lanes, by_row, rows_of
from kafka_etl.engine.rows.mapping import FAILED, Mapped, escaped, exhausted


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
            for row in rows_of(todo):
                try:
                    results[row] = exhausted(self._call(column[row]))
                except BaseException as error:  # noqa: BLE001 - whatever it raises is its record's
                    failed.append((row, escaped(error)))
                self._tick()

        hands = [self._pool.submit(work) for _ in range(min(self._size, len(lanes)))]
        for hand in hands:
            hand.result()
        return results, sorted(failed, key=by_row)

    def close(self) -> None:
        self._pool.shutdown()
