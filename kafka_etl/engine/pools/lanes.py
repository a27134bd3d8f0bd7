"""Lanes: records that must run one after the other, in the order of their offsets.

Order is about execution: two records of one lane never run at the same time. Results are put where
their records stand, so outputs are always in source order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import (
    Hashable,
    Iterator,
    Sequence,
)

from kafka_etl.functions.bind import Order
from kafka_etl.record import SourceRecord

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


def rows_of(todo: deque[Sequence[int]]) -> Iterator[int]:
    """Rows of one lane after the other, until none is left; `popleft` needs no lock."""
    while True:
        try:
            lane = todo.popleft()
        except IndexError:
            return
        yield from lane


def by_row(failed: tuple[int, BaseException]) -> int:
    return failed[0]
