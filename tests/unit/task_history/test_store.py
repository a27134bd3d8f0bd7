"""The index of tasks without Kafka: what records of a journal make of it, and its questions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.errors import JournalUnreadable
from kafka_etl.expression import Bound, ExpressionError
from kafka_etl.task_history.index import Index, take_in
from kafka_etl.task_history.rows import UNREADABLE
from kafka_etl.task_history.store import Store
from kafka_etl.task_history.where import Where
from kafka_etl.tasks import journal
from kafka_etl.tasks.head import (
    Attempt,
    Attempts,
    Due,
    Failure,
    Head,
    HistoryLine,
    Input,
    Origin,
    StopNote,
    Submitted,
    encode_head,
)
from kafka_etl.tasks.journal import Mark, ProgressNote
from kafka_etl.tasks.states import State
from kafka_etl.testing import StoredRecord

S = State
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOUR = 3_600_000
AT = int(NOW.timestamp() * 1000)


def head(task: str, state: State = S.ENQUEUED, at: int = AT, **more: Any) -> Head:
    return Head(
        id=task,
        state=state,
        submit=Submitted("w", at - 5_000, "ann@host"),
        input=Input(3, 12),
        history=(HistoryLine(at - 5_000, S.ENQUEUED, "ann@host"), HistoryLine(at, state, "owner")),
        **more,
    )


class Journal:
    """A journal of two partitions, whose records get the next offsets."""

    def __init__(self) -> None:
        self._ends = [0, 0]

    def record(self, key: bytes, value: bytes | None, partition: int = 0) -> StoredRecord:
        offset = self._ends[partition]
        self._ends[partition] += 1
        return StoredRecord(
            value, key, timestamp_ms=AT, topic="j", partition=partition, offset=offset
        )

    def heads(self, heads: Iterable[Head], partition: int = 0) -> list[StoredRecord]:
        return [
            self.record(journal.head_key(h.id), encode_head(h), partition=partition) for h in heads
        ]


@pytest.fixture
def written() -> Journal:
    return Journal()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "index.sqlite")


def ids(store: Store, where: str | None = None, *states: str, since: int = 0) -> list[str]:
    test = None if where is None else Where(where, NOW)
    wanted = frozenset(states) or None
    return [task.row.id for task in Index("j", store).tasks(test, wanted, since)]


# What records make of it


def test_the_last_head_of_a_task_counts(store: Store, written: Journal) -> None:
    take_in(store, written.heads([head("a"), head("b"), head("a", S.RUNNING)]))
    assert store.counts() == {"Running": 1, "Enqueued": 1}
    take_in(store, written.heads([head("a", S.SUCCEEDED), head("b", S.SUCCEEDED)]))
    assert store.counts() == {"Succeeded": 2}
    assert store.positions() == {0: 5}


def test_a_tombstone_forgets_the_task(store: Store, written: Journal) -> None:
    take_in(store, written.heads([head("a"), head("b")]))
    take_in(store, [written.record(journal.head_key("a"), None)])
    assert ids(store) == ["b"]
    assert store.counts() == {"Enqueued": 1}


def test_one_id_in_two_partitions_is_two_tasks(store: Store, written: Journal) -> None:
    take_in(store, written.heads([head("a")]))
    take_in(store, written.heads([head("a", S.FAILED)], partition=1))
    assert [task.row.state for task in store.named("a")] == ["Enqueued", "Failed"]
    take_in(store, [written.record(journal.head_key("a"), None, partition=1)])
    assert [task.row.state for task in store.named("a")] == ["Enqueued"]


def test_a_head_that_cannot_be_read_is_listed_as_such(store: Store, written: Journal) -> None:
    take_in(store, written.heads([head("a")]))
    take_in(store, [written.record(journal.head_key("a"), b"{}")])
    (task,) = store.named("a")
    assert task.row.state == UNREADABLE
    assert store.counts() == {UNREADABLE: 1}


def test_progress_is_that_of_the_present_attempt(store: Store, written: Journal) -> None:
    note = journal.encode_progress(ProgressNote("k1", 0.4, "pass 1 of 2"))
    take_in(store, [written.record(journal.progress_key("a"), note)])
    take_in(store, written.heads([head("a", S.RUNNING, token="k1")]))
    (task,) = store.named("a")
    assert (task.fraction, task.text) == (0.4, "pass 1 of 2")
    take_in(store, written.heads([head("a", S.RUNNING, token="k2")]))
    assert store.named("a")[0].fraction is None
    take_in(store, [written.record(journal.progress_key("a"), None)])
    take_in(store, written.heads([head("a", S.RUNNING, token="k1")]))
    assert store.named("a")[0].fraction is None


def test_marks_say_how_far_owners_have_read(store: Store, written: Journal) -> None:
    marks = [Mark(5, 1, "o", AT), Mark(9, 2, "o", AT)]
    take_in(store, [written.record(journal.mark_key(), journal.encode_mark(m)) for m in marks])
    assert store.marks() == {0: marks[1]}


def test_a_mark_of_a_later_release_is_said_rather_than_guessed(
    store: Store, written: Journal
) -> None:
    later = b'{"v":99,"inbox":1,"n":1,"writer":"w","at_ms":1}'
    with pytest.raises(JournalUnreadable, match=r"j\[0\] has a mark of format 99"):
        take_in(store, [written.record(journal.mark_key(), later)])


def test_records_of_other_kinds_are_passed_over(store: Store, written: Journal) -> None:
    keys = [journal.input_key("a"), journal.result_key("a"), journal.meta_key(), b"zzz", b""]
    take_in(store, [written.record(key, b"1") for key in keys])
    assert ids(store) == []
    assert store.positions() == {0: 5}


def test_what_is_not_committed_is_forgotten(tmp_path: Path, written: Journal) -> None:
    store = Store(tmp_path / "x.sqlite")
    take_in(store, written.heads([head("a")]))
    store.close()
    store = Store(tmp_path / "x.sqlite")
    assert (ids(store), store.positions()) == ([], {})


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "x.sqlite").close()
    base = sqlite3.connect(tmp_path / "x.sqlite")
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(sqlite3.DatabaseError, match="format 99"):
        Store(tmp_path / "x.sqlite")


def test_a_row_tells_what_the_head_tells(store: Store, written: Journal) -> None:
    full = head(
        "a",
        S.RETRYING,
        generation=2,
        executor="host-1",
        origin=Origin("uploads", 3, 42),
        attempts=Attempts(1, 4, last=(Attempt(4, "k", "host-1", AT - 70, AT - 50, "error"),)),
        due=Due(AT + 500, 500),
        stop=StopNote(AT, "bob@host", "wrong film"),
        error=Failure("OSError", "x" * 1_000),
        duplicates=3,
    )
    take_in(store, written.heads([full], partition=1))
    row = store.named("a")[0].row
    assert row._asdict() == {
        "partition": 1,
        "id": "a",
        "offset": 0,
        "state": "Retrying",
        "generation": 2,
        "outcome": "",
        "submitted_ms": AT - 5_000,
        "changed_ms": AT,
        "started_ms": AT - 70,
        "finished_ms": None,
        "due_ms": AT + 500,
        "attempts": 4,
        "counted": 1,
        "by": "ann@host",
        "executor": "host-1",
        "token": "",
        "source_topic": "uploads",
        "source_partition": 3,
        "source_offset": 42,
        "size": 12,
        "duplicates": 3,
        "error_type": "OSError",
        "error_text": "x" * 300,
        "reason": "wrong film",
        "who": "owner",
    }
    assert row.source == "uploads/3/42"


# Questions


def test_what_has_changed_last_comes_first_whatever_the_states(
    store: Store, written: Journal
) -> None:
    many = [head(f"t{n}", [S.ENQUEUED, S.RUNNING, S.FAILED][n % 3], AT + n) for n in range(500)]
    take_in(store, written.heads(many))
    assert ids(store) == [f"t{n}" for n in reversed(range(500))]
    failed = [f"t{n}" for n in reversed(range(500)) if n % 3 == 2]
    assert ids(store, None, "Failed") == failed
    assert ids(store, None, "Failed", since=AT + 400) == [t for t in failed if int(t[1:]) >= 400]
    assert ids(store, None, "Failed", "Running", since=AT + 495) == ["t499", "t497", "t496"]


def test_tasks_of_one_moment_are_each_listed_once(store: Store, written: Journal) -> None:
    take_in(store, written.heads(head(f"t{n}") for n in range(300)))
    assert sorted(ids(store)) == sorted(f"t{n}" for n in range(300))


def test_the_begin_of_an_id_finds_it(store: Store, written: Journal) -> None:
    take_in(store, written.heads(map(head, ["ab1", "ab2", "ac", "äb", "b"])))
    assert [task.row.id for task in store.beginning("ab", 5)] == ["ab1", "ab2"]
    assert [task.row.id for task in store.beginning("ab", 1)] == ["ab1"]
    assert [task.row.id for task in store.beginning("ä", 5)] == ["äb"]
    assert store.beginning("ad", 5) == []


FILTERED = [
    head("old", S.SUCCEEDED, AT - 3 * HOUR, finished_ms=AT - 3 * HOUR),
    head("new", S.SUCCEEDED, AT - HOUR, finished_ms=AT - HOUR, result="1"),
    head("bad", S.FAILED, AT - 2 * HOUR, error=Failure("OSError", "disk"), finished_ms=AT),
    head("odd", S.FAILED, AT - HOUR - 1, error=Failure("KeyError", "'x'"), generation=3),
    head("own", S.FAILED, AT - 3 * HOUR, error=Failure("shop.errors.OSError", "no")),
    head("run", S.RUNNING, AT, token="k", started_ms=AT - HOUR, executor="host-1"),
    head("fed", S.ENQUEUED, AT - 7, origin=Origin("uploads", 1, 5)),
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("state == 'Failed'", ["odd", "bad", "own"]),
        ("state in ['Failed', 'Running'] and generation == 1", ["run", "bad", "own"]),
        ("error.type == 'OSError'", ["bad", "own"]),
        ("error.type == 'shop.errors.OSError'", ["own"]),
        ("error.type == 'Error'", []),
        ("error.type in ('shop.errors.OSError', 'KeyError')", ["odd", "own"]),
        ("state == 'Failed' and error.type != 'OSError'", ["odd"]),
        ("'disk' in error.message", ["bad"]),
        ("error == 'OSError: disk'", ["bad"]),
        ("changed > '90m ago' and state == 'Succeeded'", ["new"]),
        ("finished < '2h ago'", ["old"]),
        ("finished == null", ["run", "fed", "odd", "own"]),
        ("progress < 0.5", ["run"]),
        ("progress.text == 'half'", ["run"]),
        ("source.topic == 'uploads' and source.offset == 5", ["fed"]),
        ("source == 'uploads/1/5'", ["fed"]),
        ("executor == 'host-1'", ["run"]),
        ("generation > 1", ["odd"]),
        ("startswith(id, 'o')", ["odd", "own", "old"]),
        ("by == 'ann@host' and state == 'Running'", ["run"]),
        ("size > 12", []),
        ("id == 'a' or state == 'Running'", ["run"]),
        ("state == 'Running' or finished < '2h ago'", ["run", "old"]),
        ("true", ["run", "fed", "new", "odd", "bad", "own", "old"]),
    ],
)
def test_filters(store: Store, written: Journal, where: str, expected: list[str]) -> None:
    take_in(store, written.heads(FILTERED))
    note = journal.encode_progress(ProgressNote("k", 0.4, "half"))
    take_in(store, [written.record(journal.progress_key("run"), note)])
    assert ids(store, where) == expected


def test_a_filter_and_states_must_both_fit(store: Store, written: Journal) -> None:
    take_in(store, written.heads(FILTERED))
    assert ids(store, "state in ['Failed', 'Running']", "Failed", "Succeeded") == [
        "odd",
        "bad",
        "own",
    ]


def test_tasks_to_which_the_filter_cannot_be_applied_are_counted(
    store: Store, written: Journal
) -> None:
    take_in(store, written.heads(FILTERED))
    where = Where("lower(generation) == 'x'", NOW)
    assert list(Index("j", store).tasks(where)) == []
    assert where.unfit == len(FILTERED)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat == 'Failed'", "did you mean `state`?"),
        ("changed > 'yesterday'", "write 2026-11-28"),
        ("error.kind == 'x'", "Fields: error.type, error.message"),
        ("state == 'runing'", "`runing` is no state; did you mean `Running`?"),
    ],
)
def test_a_wrong_filter_is_explained(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=r"column") as raised:
        Where(text, NOW)
    assert said in str(raised.value)


def test_comparisons_to_constants_are_left_to_the_database() -> None:
    where = Where("error.type == 'OSError' and finished < '2h ago' and 'x' in id and size > 7", NOW)
    assert where.bounds == [
        Bound("error_type", "LIKE", "%OSError"),
        Bound("finished_ms", "<", AT - 2 * HOUR),
        Bound("size", ">", 7),
    ]
    assert Where("error.type == 'shop.NoRate'", NOW).bounds == [
        Bound("error_type", "=", "shop.NoRate")
    ]
    assert Where("error.type != 'OSError'", NOW).bounds == []
    assert Where("size == 'x' and by == 3 and attempts > 2.5", NOW).bounds == []


def test_a_filter_keeps_its_times_for_ever() -> None:
    assert Where("changed > '2h ago'", NOW).text == "changed > '2026-11-29T10:00:00.000Z'"
