"""The codec of the journal: keys by kind, marks of owners, notes of progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.tasks import journal
from kafka_etl.tasks.journal import BadMark, JournalKey, Kind, Mark, ProgressNote, parse_key
from kafka_etl.tasks.words import id_problem

IDS = st.text(min_size=1, max_size=40).filter(lambda text: id_problem(text) is None)


@given(IDS)
def test_a_key_tells_its_kind_and_its_task(task: str) -> None:
    assert parse_key(journal.head_key(task)) == JournalKey(Kind.HEAD, task)
    assert parse_key(journal.progress_key(task)) == JournalKey(Kind.PROGRESS, task)
    assert parse_key(journal.input_key(task)) == JournalKey(Kind.INPUT, task)
    assert parse_key(journal.result_key(task)) == JournalKey(Kind.RESULT, task)


def test_no_id_of_a_task_is_taken_for_a_mark_or_for_meta() -> None:
    assert parse_key(journal.mark_key()) == JournalKey(Kind.MARK)
    assert parse_key(journal.meta_key()) == JournalKey(Kind.META)
    for task in ("a", "eta", "meta"):
        assert parse_key(journal.head_key(task)) == JournalKey(Kind.HEAD, task)


@pytest.mark.parametrize("key", [None, b"", b"t", b"ab", b"x1", b"metal", b"t\xff"])
def test_another_key_is_none_of_ours(key: bytes | None) -> None:
    assert parse_key(key) is None


def test_a_mark_comes_back_as_it_was_written_and_says_its_format() -> None:
    mark = Mark(inbox=42, n=7, writer="host-1", at_ms=1_000)
    data = journal.encode_mark(mark)
    assert b'"v":1' in data
    assert journal.decode_mark(data) == mark


@pytest.mark.parametrize("data", [b"", b"{}", b'{"inbox":1,"n":1,"writer":"w","at_ms":1,"v":2}'])
def test_a_mark_that_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(BadMark):
        journal.decode_mark(data)


def test_a_mark_with_fields_of_a_later_release_is_read() -> None:
    data = b'{"inbox":1,"n":2,"writer":"w","at_ms":3,"v":1,"lease":9}'
    assert journal.decode_mark(data) == Mark(1, 2, "w", 3)


def test_a_note_of_progress_comes_back_as_it_was_written() -> None:
    note = ProgressNote("k", 0.4, "pass 1 of 2", 9)
    assert journal.decode_progress(journal.encode_progress(note)) == note
