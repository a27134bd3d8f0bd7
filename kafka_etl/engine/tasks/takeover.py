"""How an owner takes partitions over: their archives, and the journal from there to its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from kafka_etl.contracts import OutcomeUnknown
from kafka_etl.engine.tasks.archive import Archives, Place
from kafka_etl.engine.tasks.book import Book
from kafka_etl.errors import JournalUnreadable, TaskHistoryLost
from kafka_etl.record import Offsets, Partition
from kafka_etl.tasks.journal import BadMark, Kind, Mark, decode_mark, parse_key
from kafka_etl.tasks.log import Ranges, TaskLog
from kafka_etl.tasks.policy import Policy

_SAVE_EVERY_MS: Final = 30_000


class Taken(NamedTuple):
    """A partition that was taken over.

    Attributes:
        mark: How far its last owner had read the inbox; None: there was none.
        end: Offset of the journal up to which the partition was read.
    """

    book: Book
    mark: Mark | None
    end: int


class TakeOver:
    """Takes partitions over, and keeps their archives up to date.

    Args:
        log: The journal.
        archives: The archives.
        policy: The rules of the pipeline.
        partitions: Number of the pipeline's partitions.
        now_ms: Present time, in milliseconds since the epoch.
    """

    def __init__(
        self,
        log: TaskLog,
        archives: Archives,
        policy: Policy,
        partitions: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._log = log
        self._archives = archives
        self._policy = policy
        self._most = -(-policy.history_max // partitions)
        self._now_ms = now_ms
        self._saved: dict[Partition, int] = {}

    def take(self, committed: Offsets) -> dict[Partition, Taken]:
        """Read the tasks of partitions.

        Args:
            committed: Partition -> the offset of the inbox that the group has committed.

        Raises:
            OutcomeUnknown: No broker answers, or an archive is damaged, which is removed.
            JournalUnreadable: A later release has written the journal.
            TaskHistoryLost: Journal and inbox do not belong to each other any more.
        """
        # The end is asked for first: what an owner that has died was committing counts as well.
        ranges = self._log.journal_ranges(committed.keys())
        books = {
            tp: Book(self._policy, self._archives.open(tp.number, begin, end), self._most)
            for tp, (begin, end) in ranges.items()
        }
        try:
            marks = self._restore(books, ranges)
            found = {tp: _decoded(tp, mark) for tp, mark in marks.items()}
            self._check(committed, found)
            now = self._now_ms()
            for tp, book in books.items():
                book.begin(now)
                if tp in marks:
                    self._save(tp, book, Place(ranges[tp][1], marks[tp]))
        except sqlite3.Error as error:
            raise self.damaged(books, error) from error
        except BaseException:
            for book in books.values():
                book.close()
            raise
        return {tp: Taken(book, found.get(tp), ranges[tp][1]) for tp, book in books.items()}

    def _restore(self, books: Mapping[Partition, Book], ranges: Ranges) -> dict[Partition, bytes]:
        """Read what the archives know, and the rest from the journal; returns the marks."""
        marks: dict[Partition, bytes] = {}
        unread: dict[Partition, tuple[int, int]] = {}
        for tp, book in books.items():
            book.recall()
            position, mark = book.place
            begin, end = ranges[tp]
            unread[tp] = max(begin, position), end
            if mark is not None:
                marks[tp] = mark
        for tp, data, value in self._log.journal(unread):
            key = parse_key(data)
            if key is None:
                continue
            if key.kind is Kind.HEAD:
                books[tp].restore(key.task, value)
            elif key.kind is Kind.MARK and value is not None:
                marks[tp] = value
        return marks

    def _check(self, committed: Offsets, marks: Mapping[Partition, Mark]) -> None:
        """Check that inbox and journal are still those that their marks are about."""
        for tp, offset in committed.items():
            if tp not in marks and offset > 0:
                raise TaskHistoryLost(
                    f"words of {tp} were read up to offset {offset:,}, and the journal has no "
                    "record of what became of them: it was deleted, or has lost records"
                )
        ends = self._log.inbox_ends(marks.keys())
        for tp, mark in marks.items():
            if mark.inbox > ends[tp]:
                raise TaskHistoryLost(
                    f"{tp} ends at offset {ends[tp]:,}, and its owner {mark.writer} had read it up "
                    f"to {mark.inbox:,}: the inbox has lost words, or was made anew"
                )

    def damaged(self, books: Mapping[Partition, Book], error: sqlite3.Error) -> OutcomeUnknown:
        """Close and remove archives, one of which cannot be used; the next take-over makes them."""
        for tp, book in books.items():
            book.close()
            self._archives.discard(tp.number)
        return OutcomeUnknown(f"an archive of tasks cannot be used: {error}", halve=False)

    def save(self, books: Mapping[Partition, Book], place_of: Callable[[Partition], Place]) -> None:
        """Save the archive that was saved the longest ago, if that is long ago.

        Args:
            books: The tasks of all partitions.
            place_of: Tells behind which record of ours the book of a partition stands. The end of
                the journal would not do: a partition may have left that we believe to be ours.
        """
        due = min(books, key=lambda tp: self._saved.get(tp, 0), default=None)
        if due is None or self._now_ms() - self._saved.get(due, 0) < _SAVE_EVERY_MS:
            return
        self._save(due, books[due], place_of(due))

    def _save(self, tp: Partition, book: Book, place: Place) -> None:
        self._saved[tp] = self._now_ms()
        book.save(place, self._saved[tp])


def _decoded(tp: Partition, mark: bytes) -> Mark:
    try:
        return decode_mark(mark)
    except BadMark as bad:
        raise JournalUnreadable(f"the journal of {tp} has {bad}") from bad
