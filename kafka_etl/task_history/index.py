"""The index of tasks: a local copy of what lists and filters need, kept up to date.

The journal is the truth; the index may be deleted at any time. Each use of the index first reads
what was written since.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from kafka_etl.errors import IndexUnusable, JournalUnreadable
from kafka_etl.index_files import IndexFiles, damage_explained, default_folder
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.cluster.topics import existing_partitions, read_ranges, whole
from kafka_etl.record import Partition, SourceRecord, offset_of
from kafka_etl.task_history.rows import Task, TaskRow, row_of, unreadable
from kafka_etl.task_history.store import Store
from kafka_etl.task_history.where import Where
from kafka_etl.tasks.head import decode_head
from kafka_etl.tasks.journal import (
    BadMark,
    Kind,
    Mark,
    ProgressNote,
    decode_mark,
    decode_progress,
    parse_key,
)

Progress = Callable[[str], None]
"""Is told how far the index is, as a line for people."""

_WHAT: Final = "tasks"
_BATCH: Final = 10_000
_FRESH_MS: Final = 60_000
_TOMBSTONES: Final = "delete.retention.ms"
_TOMBSTONES_KEPT: Final = 86_400_000
"""Milliseconds that tombstones are kept where the topic does not say."""


class Index:
    """The index of one journal, as up to date as when it was opened.

    Attributes:
        journal: Name of the topic.
        positions: Partition -> the next offset of the journal that was not read.
    """

    def __init__(self, journal: str, store: Store) -> None:
        self.journal = journal
        self._store = store
        with damage_explained(_WHAT):
            self.positions: Mapping[int, int] = store.positions()

    def close(self) -> None:
        self._store.close()

    def counts(self) -> dict[str, int]:
        """State -> number of tasks."""
        with damage_explained(_WHAT):
            return self._store.counts()

    def marks(self) -> dict[int, Mark]:
        """Partition -> how far its owner has read the inbox."""
        with damage_explained(_WHAT):
            return self._store.marks()

    def named(self, task: str) -> list[Task]:
        """The tasks of this id; of several partitions there may be several."""
        with damage_explained(_WHAT):
            return self._store.named(task)

    def beginning(self, begin: str, limit: int) -> list[Task]:
        """The first tasks whose id begins with a text, in the order of their ids."""
        with damage_explained(_WHAT):
            return self._store.beginning(begin, limit)

    def tasks(
        self, where: Where | None = None, states: frozenset[str] | None = None, since_ms: int = 0
    ) -> Iterator[Task]:
        """The selected tasks, that which has changed last first.

        Args:
            where: The filter; None: all.
            states: The states that are wanted; None: any.
            since_ms: The tasks that have changed since; in milliseconds since the epoch.
        """
        with damage_explained(_WHAT):
            if where is None:
                yield from self._store.tasks(states, since_ms)
                return
            wanted = [state for state in where.states if states is None or state in states]
            yield from filter(where.takes, self._store.tasks(wanted, since_ms, where.bounds))


# Keeping the index up to date


def open_index(
    consumer: Mapping[str, Any],
    admin: Admin,
    journal: str,
    progress: Progress = lambda _line: None,
    *,
    rebuild: bool = False,
) -> Index:
    """Open the index of a journal, and bring it up to date.

    Only one command at a time writes the index; others wait.

    Args:
        consumer: Settings of consumers.
        admin: An admin client that has reached the cluster.
        journal: The journal's name.
        progress: Is told how far the index is.
        rebuild: Whether to make the index anew from the journal.

    Raises:
        TopicMissing: The journal does not exist.
        JournalUnreadable: A later release has written the journal.
        IndexUnusable: The file of the index cannot be written.
        KafkaEtlError: The journal cannot be read.
    """
    partitions = existing_partitions(admin, journal, "It is created when the pipeline starts.")
    folder, topic_id = default_folder() / _WHAT, admin.topic_ids[journal]
    files = IndexFiles(Store, _WHAT, folder, admin.cluster, journal, topic_id)
    with files.locked(lambda: progress(f"{journal}: another command brings the index up to date")):
        # Asked with the lock held: whoever had it before may have read further.
        update = _Update(consumer, admin, partitions, progress)
        store = files.open(anew=rebuild)
        try:
            if not update.continues(store):
                store.close()
                store = files.open(anew=True)
            update.run(store)
        except sqlite3.OperationalError as error:
            store.close()
            raise IndexUnusable(f"the index of tasks cannot be written: {error}") from error
        except sqlite3.DatabaseError:
            store.close()
            progress(f"{journal}: the index is damaged, and made anew")
            store = files.open(anew=True)
            with damage_explained(_WHAT):
                update.run(store)
    return Index(journal, store)


class _Update:
    """Brings an index up to date."""

    def __init__(
        self,
        consumer: Mapping[str, Any],
        admin: Admin,
        partitions: list[Partition],
        progress: Progress,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._journal = partitions[0].topic
        self._present = whole(admin, partitions)
        self._progress = progress

    def continues(self, store: Store) -> bool:
        """Whether what the index knows is the beginning of the present journal.

        It is not where the cluster has lost records, nor where tombstones may have come and gone
        since the index was read.
        """
        ends = {partition.number: end for partition, (_, end) in self._present.items()}
        known = store.positions()
        if any(ends.get(number, -1) < position for number, position in known.items()):
            return False
        age = _now_ms() - store.read_ms()
        if not known or age < _FRESH_MS:
            return True
        settings = self._admin.settings_of([self._journal]).get(self._journal, {})
        return age < int(settings.get(_TOMBSTONES, _TOMBSTONES_KEPT)) // 2

    def run(self, store: Store) -> None:
        """Take in what was written since the index was read."""
        now, known = _now_ms(), store.positions()
        ranges = {
            partition: (max(begin, known.get(partition.number, 0)), end)
            for partition, (begin, end) in self._present.items()
        }
        total, done = sum(end - begin for begin, end in ranges.values()), 0
        records = read_ranges(self._consumer, ranges)
        while batch := list(islice(records, _BATCH)):
            take_in(store, batch)
            store.commit()
            done += len(batch)
            self._progress(f"{self._journal}: {done:,} of {total:,} records read")
        store.set_positions({partition.number: end for partition, (_, end) in ranges.items()})
        store.set_read(now)
        store.commit()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


Place = tuple[int, str]
"""Partition and id of a task."""


def take_in(store: Store, records: list[SourceRecord]) -> None:
    """Take in records of the journal, in their order; nothing is committed.

    Raises:
        JournalUnreadable: A later release has written the journal.
    """
    # Of several records under one key the last one counts: the others are not even decoded.
    last: dict[tuple[int, bytes | None], SourceRecord] = {}
    positions: dict[int, int] = {}
    for record in records:
        number = record.partition() or 0
        last[number, record.key()] = record
        positions[number] = offset_of(record) + 1
    rows: list[TaskRow] = []
    gone: list[Place] = []
    progress: dict[Place, ProgressNote | None] = {}
    marks: dict[int, Mark] = {}
    for (number, data), record in last.items():
        key = parse_key(data)
        if key is None:
            continue
        value = record.value()
        match key.kind:
            case Kind.HEAD if value is None:
                gone.append((number, key.task))
            case Kind.HEAD:
                rows.append(_row(record, key.task))
            case Kind.PROGRESS:
                progress[number, key.task] = _note(record)
            case Kind.MARK if value is not None:
                marks[number] = mark_of(record, value)
            case _:
                pass
    store.put(rows)
    store.forget(gone)
    store.put_progress(progress)
    store.put_marks(marks)
    store.set_positions(positions)


def _row(record: SourceRecord, task: str) -> TaskRow:
    number, offset = record.partition() or 0, offset_of(record)
    try:
        return row_of(decode_head(record.value() or b""), task, number, offset)
    except msgspec.MsgspecError:
        return unreadable(task, number, offset, record.timestamp()[1])


def _note(record: SourceRecord) -> ProgressNote | None:
    value = record.value()
    try:
        return None if value is None else decode_progress(value)
    except msgspec.MsgspecError:
        return None


def mark_of(record: SourceRecord, value: bytes) -> Mark:
    """The mark that is the value of a record.

    Raises:
        JournalUnreadable: A later release has written the mark.
    """
    try:
        return decode_mark(value)
    except BadMark as error:
        where = f"{record.topic()}[{record.partition()}]"
        raise JournalUnreadable(f"{where} has {error}") from error
