"""Whatever is in a journal, and however it comes: the index knows the last word under each key."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.task_history.index import Index, take_in
from kafka_etl.task_history.store import Store
from kafka_etl.tasks import journal
from kafka_etl.tasks.head import Head, HistoryLine, encode_head
from kafka_etl.tasks.states import State
from kafka_etl.testing import StoredRecord

IDS = st.sampled_from(["a", "b", "ab", "ä"])
CHANGES = st.tuples(
    st.integers(0, 1), IDS, st.none() | st.just("junk") | st.sampled_from(State), st.integers(0, 9)
)


def record(offset: int, change: Any) -> StoredRecord:
    partition, task, state, at = change
    value = b"{junk" if state == "junk" else None
    if isinstance(state, State):
        value = encode_head(Head(id=task, state=state, history=(HistoryLine(at, state, "o"),)))
    return StoredRecord(
        value, journal.head_key(task), topic="j", partition=partition, offset=offset
    )


@given(st.lists(CHANGES, max_size=40), st.lists(st.integers(1, 12), min_size=1))
def test_the_last_head_counts_however_the_journal_is_cut(
    changes: list[Any], lengths: list[int]
) -> None:
    known: dict[tuple[int, str], tuple[str, int]] = {}
    for partition, task, state, at in changes:
        known.pop((partition, task), None)
        if state == "junk":
            known[partition, task] = ("Unreadable", 0)
        elif state is not None:
            known[partition, task] = (state.value, at)
    store, rest = Store(":memory:"), list(map(record, range(len(changes)), changes))
    while rest:
        for length in lengths:
            take_in(store, rest[:length])
            rest = rest[length:]
    found = [task.row for task in Index("j", store).tasks()]
    assert {(row.partition, row.id): (row.state, row.changed_ms) for row in found} == known
    assert len(found) == len(known)
    times = [row.changed_ms for row in found]
    assert times == sorted(times, reverse=True)
    assert store.counts() == Counter(state for state, _ in known.values())
    for row in found:
        assert row in [task.row for task in store.named(row.id)]
