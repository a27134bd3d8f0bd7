"""In which order the tasks of an owner's partitions begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush

from kafka_etl.engine.tasks.book import Book
from kafka_etl.record import Partition
from kafka_etl.tasks.head import Head


def by_turns(
    books: Mapping[Partition, Book], has_room_for: Callable[[Head], bool]
) -> Iterator[tuple[Partition, Head]]:
    """Yield the tasks that wait, that first which waits longest; each begins before the next.

    A suspect that may not begin yet holds up other suspects, or its turn would never come. Nobody
    else waits for suspects.

    Args:
        books: The tasks of each partition.
        has_room_for: Whether a suspect may begin beside those that run.
    """
    first: list[tuple[int, str, Partition, bool]] = []

    def look(tp: Partition, *, suspect: bool) -> None:
        if (head := books[tp].next_waiting(suspect=suspect)) is not None:
            heappush(first, (head.seq, head.id, tp, suspect))

    for tp in books:
        look(tp, suspect=True)
        look(tp, suspect=False)
    holds_suspects = False
    while first:
        _, task, tp, suspect = heappop(first)
        head = books[tp].head(task)
        if head is None or (suspect and holds_suspects):
            continue
        if suspect and not has_room_for(head):
            holds_suspects = True
            continue
        yield tp, head
        look(tp, suspect=suspect)
