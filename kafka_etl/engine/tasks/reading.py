"""Reads words off the records of an inbox."""

from __future__ import annotations

import msgspec

from kafka_etl.record import SourceRecord, headers_of
from kafka_etl.tasks import words as w
from kafka_etl.tasks.rows import Row, decode_rows


def read_word(record: SourceRecord) -> tuple[str, w.Word, list[Row]]:
    """The task that a record is about, the word, and the rows that a result brings along.

    Raises:
        BadWord: The record is no word.
    """
    task = w.task_of(record.key())
    word = w.decode_word(headers_of(record), task)
    if not isinstance(word, w.Result):
        return task, word, []
    try:
        return task, word, decode_rows(record.value() or b"")
    except msgspec.MsgspecError as error:
        raise w.BadWord(f"a result without rows: {error}") from error
