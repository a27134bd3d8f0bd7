"""Whatever happens to dead letters, the counts of the index equal a count of its rows."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.dead_letters.statuses import LetterPlace, LetterStatus
from kafka_etl.dlq.index import Index
from kafka_etl.dlq.rows import Group, Own
from kafka_etl.dlq.store import Store

GROUPS = [
    Group(kind, "OperatorError", "op", version, "E", "p", "orders", "kafka_etl")
    for kind in "ab"
    for version in ("1", "2")
]
places = st.builds(LetterPlace, st.integers(0, 1), st.integers(0, 12))
changes = st.one_of(
    st.tuples(
        st.just("add"),
        st.integers(0, 1),
        st.lists(st.tuples(st.sampled_from(GROUPS), st.integers(0, 99)), min_size=1, max_size=5),
    ),
    st.tuples(st.just("status"), st.dictionaries(places, st.sampled_from(LetterStatus))),
    st.tuples(st.just("forget"), st.integers(0, 1), st.integers(0, 12)),
    st.tuples(st.just("statuses lost")),
    st.tuples(st.just("roll back")),
    st.tuples(st.just("commit")),
)


class Model:
    """What the index should know, kept the plain way."""

    def __init__(self) -> None:
        self.letters: dict[LetterPlace, tuple[Group, int]] = {}
        self.statuses: dict[LetterPlace, LetterStatus] = {}
        self.next = [0, 0]

    def copy(self) -> Model:
        made = Model()
        made.letters, made.statuses = dict(self.letters), dict(self.statuses)
        made.next = list(self.next)
        return made

    def kinds(self) -> dict[tuple[str, LetterStatus], tuple[int, int, int]]:
        found: dict[tuple[str, LetterStatus], list[int]] = {}
        for place, (group, at) in self.letters.items():
            status = self.statuses.get(place, LetterStatus.OPEN)
            found.setdefault((group.fingerprint, status), []).append(at)
        return {key: (len(times), min(times), max(times)) for key, times in found.items()}


@given(st.lists(changes, max_size=40))
def test_counts_equal_a_count_of_the_rows(history: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "index.sqlite")
        kept = Model()
        model = kept.copy()
        for change in history:
            match change:
                case ("add", int() as partition, list() as added):
                    for group, at in added:
                        place = LetterPlace(partition, model.next[partition])
                        model.next[partition] += 1
                        model.letters[place] = (group, at)
                        store.add([(group, Own(*place, at, 0, 0, 1, 0, ""))])
                case ("status", dict() as statuses):
                    model.statuses |= statuses
                    store.set_statuses(statuses)
                case ("forget", int() as partition, int() as offset):
                    store.forget_before(partition, offset)
                    for held in (model.letters, model.statuses):
                        for place in [p for p in held if p[0] == partition and p[1] < offset]:
                            del held[place]
                case ("statuses lost",):
                    model.statuses.clear()
                    store.forget_statuses("dlq.status")
                case ("roll back",):
                    store.roll_back()
                    model = kept.copy()
                case _:
                    store.commit()
                    kept = model.copy()
        index = Index("dlq", store, lambda _ranges: iter(()))
        found = {
            (kind.fingerprint, status): (kind.letters, kind.first_ms, kind.last_ms)
            for status in LetterStatus
            for kind in index.kinds(status=status)
        }
        assert found == model.kinds()
        rows = Counter((r.fingerprint, r.status) for r in index.letters(status=None))
        assert rows == {key: count for key, (count, _, _) in found.items()}
        every = {kind.fingerprint: kind.counts for kind in index.kinds(status=None)}
        assert rows == {(f, s): n for f, counts in every.items() for s, n in counts.items()}
        store.close()
