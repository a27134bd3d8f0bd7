"""The index of dead letters: a local copy of what lists and filters need, kept up to date.

The topic is the truth; the index may be deleted at any time. Each use of the index first reads what
was written since: dead letters, then their statuses.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.statuses import (
    LetterPlace,
    LetterStatus,
    Statuses,
    place_from,
    status_topic,
)
from kafka_etl.dlq.rows import LetterRow, Payload, row_of
from kafka_etl.dlq.store import SAMPLE, Counted, Store
from kafka_etl.dlq.where import Where
from kafka_etl.errors import IndexUnusable
from kafka_etl.index_files import IndexFiles, damage_explained, default_folder
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.cluster.topics import Ranges, existing_partitions, read_ranges, whole
from kafka_etl.record import Partition, SourceRecord, offset_of

Progress = Callable[[str], None]
"""Is told how far the index is, as a line for people."""
Read = Callable[[Ranges], Iterator[SourceRecord]]
"""Reads the records of ranges: of a topic, or of files that are read like one."""

_WHAT: Final = "dead letters"
_BATCH: Final = 2_000
_PAGE: Final = 2_000
_GAP: Final = 2_000
"""Offsets between two wanted letters that are rather read than jumped over."""
_ID: Final = "id of the status topic"


@dataclass(slots=True)
class Kind:
    """Dead letters of one fingerprint, among those that were selected.

    Attributes:
        counts: Status -> number of letters.
        first_ms: When the oldest was written, in milliseconds since the epoch.
        last_ms: When the newest was written.
        example: The newest.
        versions: Versions of the operator that failed.
        texts: Texts of errors, of those letters that were looked at; at most some hundred.
        looked_at: Number of these letters: the newest of each version and status.
    """

    fingerprint: str
    example: LetterRow
    first_ms: int
    last_ms: int
    counts: Counter[LetterStatus] = field(default_factory=Counter[LetterStatus])
    versions: set[str] = field(default_factory=set[str])
    texts: set[str] = field(default_factory=set[str])
    looked_at: int = 0

    @property
    def other_texts(self) -> int:
        """Number of texts beside that of the example; at least so many, if `is_sampled`."""
        return len(self.texts - {self.example.error_text})

    @property
    def is_sampled(self) -> bool:
        """Whether there are letters that were not looked at."""
        return self.looked_at < self.letters

    @property
    def letters(self) -> int:
        """Number of letters of any status."""
        return self.counts.total()

    def include(
        self, oldest: LetterRow, newest: LetterRow, letters: int, texts: Collection[str]
    ) -> None:
        """Add letters of one status and version, with the texts of the newest of them."""
        self.counts[LetterStatus(newest.status)] += letters
        if len(self.texts) < SAMPLE:
            self.texts.update(texts)
            self.looked_at += len(texts)
        self.first_ms = min(self.first_ms, oldest.written_ms)
        self.versions.update(filter(None, [newest.version]))
        if newest.written_ms >= self.last_ms:
            self.last_ms, self.example = newest.written_ms, newest


class Index:
    """The index of one topic, as up to date as when it was opened.

    Attributes:
        topic: The dead-letter topic.
        strangers: Number of records of the topic that are no dead letters.
    """

    def __init__(self, topic: str, store: Store, read: Read) -> None:
        self.topic = topic
        self._store = store
        self._read_records = read

    @property
    def strangers(self) -> int:
        with damage_explained(_WHAT):
            return self._store.strangers()

    def close(self) -> None:
        self._store.close()

    def kinds(
        self,
        where: Where | None = None,
        fingerprint: str | None = None,
        status: LetterStatus | None = LetterStatus.OPEN,
    ) -> list[Kind]:
        """The kinds of the selected dead letters, the commonest first; see `letters`."""
        kinds: dict[str, Kind] = {}
        with damage_explained(_WHAT):
            for oldest, newest, count, texts in self._parts(where, fingerprint, status):
                kind = kinds.get(newest.fingerprint)
                if kind is None:
                    kind = Kind(newest.fingerprint, newest, oldest.written_ms, newest.written_ms)
                    kinds[newest.fingerprint] = kind
                kind.include(oldest, newest, count, texts)
        return sorted(kinds.values(), key=lambda kind: (-kind.letters, kind.fingerprint))

    def _parts(
        self, where: Where | None, fingerprint: str | None, status: LetterStatus | None
    ) -> Iterator[tuple[LetterRow, LetterRow, int, Collection[str]]]:
        """Letters of one fingerprint, status and version: oldest, newest, how many, some texts."""
        if where is not None and (where.needs_rows or where.needs_payload):
            for row in self.letters(where, fingerprint, status):
                yield row, row, 1, [row.error_text]
            return
        for counted in self._groups(where, fingerprint):
            if status in {None, counted.status}:
                yield *self._store.ends(counted), counted.letters, self._store.texts(counted)

    def letters(
        self,
        where: Where | None = None,
        fingerprint: str | None = None,
        status: LetterStatus | None = LetterStatus.OPEN,
        ids: Iterable[LetterPlace] | None = None,
    ) -> Iterator[LetterRow]:
        """The selected dead letters, in the order of (partition, offset).

        The topic is read only if the filter needs payloads, and then only near the letters that the
        rest of the filter has left.

        Args:
            where: The filter; None: all.
            fingerprint: The kind that is wanted; None: all.
            status: The status that is wanted; None: any.
            ids: The places that are wanted; None: all.

        Raises:
            KafkaEtlError: The topic cannot be read.
            IndexUnusable: The file of the index is damaged.
        """
        with damage_explained(_WHAT):
            rows = self._candidates(where, fingerprint, status, ids)
            if where is None or not where.needs_payload:
                yield from rows
                return
            while page := list(islice(rows, _PAGE)):
                yield from self._read(where, page)

    def newest(self, count: int, status: LetterStatus | None) -> list[LetterRow]:
        """The newest dead letters of a status, or of any, the newest first."""
        with damage_explained(_WHAT):
            return self._store.newest(count, status)

    def sources(self) -> list[tuple[str, int, int, int]]:
        """Topic and partition of records, the first offset there, and the number of letters."""
        with damage_explained(_WHAT):
            return self._store.sources()

    def find(self, topic: str | None, partition: int | None, offset: int) -> list[LetterRow]:
        """The dead letters that an ID names, by their own place or that of their record.

        Args:
            topic: Topic of the dead letter or the record; None: any.
            partition: Number of the partition; None: any.
            offset: Offset in the partition.
        """
        with damage_explained(_WHAT):
            return self._store.at_or_of(self.topic, topic, partition, offset)

    def _groups(self, where: Where | None, fingerprint: str | None) -> Iterator[Counted]:
        for counted in self._store.counts():
            if fingerprint not in {None, counted.group.fingerprint}:
                continue
            if where is None or where.takes_group(counted.group):
                yield counted

    def _candidates(
        self,
        where: Where | None,
        fingerprint: str | None,
        status: LetterStatus | None,
        ids: Iterable[LetterPlace] | None,
    ) -> Iterator[LetterRow]:
        """The letters that may be selected as far as the index knows."""
        groups = {c.id: c.group for c in self._groups(where, fingerprint)}
        if ids is None:
            every = where is None and fingerprint is None
            bounds = [] if where is None else where.bounds
            rows = self._store.rows(None if every else groups, status, bounds)
        else:
            wanted = set(groups.values())
            rows = (
                row
                for row in self._store.named(ids)
                if status in {None, row.status} and row.group in wanted
            )
        return rows if where is None else filter(where.takes_row, rows)

    def _read(self, where: Where, page: list[LetterRow]) -> Iterator[LetterRow]:
        """Those of the letters whose payload is selected."""
        for run in runs_of(page):
            wanted = {row.offset: row for row in run}
            number = run[0].partition
            place = Partition(self.topic, number)
            ranges = {place: (run[0].offset, run[-1].offset + 1)}
            for record in self._read_records(ranges):
                row = wanted.get(offset_of(record))
                if row is not None and _takes(where, row, record):
                    yield row


def _takes(where: Where, row: LetterRow, record: SourceRecord) -> bool:
    letter = decode_letter(record)
    return letter is not None and where.takes_payload(row, Payload(letter))


def runs_of(rows: Iterable[LetterRow]) -> list[list[LetterRow]]:
    """Letters that lie near each other, by partition.

    Args:
        rows: The letters in the order of (partition, offset).
    """
    runs: list[list[LetterRow]] = []
    for row in rows:
        last = runs[-1][-1] if runs else None
        if last is None or last.partition != row.partition or row.offset - last.offset > _GAP:
            runs.append([])
        runs[-1].append(row)
    return runs


# Keeping the index up to date


def open_index(
    consumer: Mapping[str, Any],
    admin: Admin,
    topic: str,
    progress: Progress = lambda _line: None,
    *,
    rebuild: bool = False,
) -> Index:
    """Open the index of a topic, and bring it up to date.

    Only one command at a time writes the index; others wait.

    Args:
        consumer: Settings of consumers.
        admin: An admin client that has reached the cluster.
        topic: The dead-letter topic.
        progress: Is told how far the index is.
        rebuild: Whether to make the index anew from the topic.

    Raises:
        TopicMissing: The topic does not exist.
        IndexUnusable: The file of the index cannot be written.
        KafkaEtlError: The topic cannot be read.
    """
    partitions = existing_partitions(admin, topic)
    folder, topic_id = default_folder() / "dead-letters", admin.topic_ids[topic]
    files = IndexFiles(Store, _WHAT, folder, admin.cluster, topic, topic_id)
    with files.locked(lambda: progress(f"{topic}: another command brings the index up to date")):
        store = files.open(anew=rebuild)
        try:
            _Update(store, consumer, admin, topic, progress).run(partitions)
        except sqlite3.OperationalError as error:
            store.close()
            raise IndexUnusable(f"the index of dead letters cannot be written: {error}") from error
        except sqlite3.DatabaseError:
            store.close()
            progress(f"{topic}: the index is damaged, and made anew")
            store = files.open(anew=True)
            with damage_explained(_WHAT):
                _Update(store, consumer, admin, topic, progress).run(partitions)
    return Index(topic, store, partial(read_ranges, consumer))


def index_in_memory(name: str, ranges: Ranges, read: Read) -> Index:
    """An index of dead letters in files, which `read` gives; all of them are open.

    Raises: as `read`.
    """
    store = Store(":memory:")
    lines = read(ranges)
    while batch := list(islice(lines, _BATCH)):
        _add(store, batch)
    store.commit()
    return Index(name, store, read)


def _add(store: Store, records: Sequence[SourceRecord]) -> None:
    rows = list(map(row_of, records))
    store.add(row for row in rows if row is not None)
    store.add_strangers(
        LetterPlace.of(record) for record, row in zip(records, rows, strict=True) if row is None
    )


class _Update:
    """Brings an index up to date."""

    def __init__(
        self,
        store: Store,
        consumer: Mapping[str, Any],
        admin: Admin,
        topic: str,
        progress: Progress,
    ) -> None:
        self._store = store
        self._consumer = consumer
        self._admin = admin
        self._topic = topic
        self._progress = progress

    def run(self, partitions: list[Partition]) -> None:
        begins = self._take_in(partitions, self._add, self._store.forget_before, _WHAT)
        self._take_in_statuses()
        for partition, begin in begins.items():
            self._store.forget_before(partition.number, begin)
        self._store.commit()

    def _take_in_statuses(self) -> None:
        topic = status_topic(self._topic)
        exists = self._admin.topics([topic], "READ")
        known, present = self._store.note(_ID), self._admin.topic_ids.get(topic, "")
        if known != (present if exists else ""):
            self._store.forget_statuses(topic)
            self._store.set_note(_ID, present if exists else "")
        if exists:
            partitions = [Partition(topic, n) for n in range(exists[topic])]
            self._take_in(
                partitions,
                self._set,
                lambda _number, _position: self._store.forget_statuses(topic),
                "statuses",
            )

    def _take_in(
        self,
        partitions: list[Partition],
        take: Callable[[list[SourceRecord]], None],
        forget: Callable[[int, int], None],
        what: str,
    ) -> Mapping[Partition, int]:
        """Take in all records since the last time; returns the first offsets that are there."""
        topic = partitions[0].topic
        known = self._store.positions(topic)
        present = whole(self._admin, partitions)
        lost = [tp.number for tp, (_, end) in present.items() if known.get(tp.number, 0) > end]
        for number in lost:  # the cluster has lost records: what is there now are others
            forget(number, known[number])
        known = self._store.positions(topic)  # those of other partitions may be forgotten, too
        ranges: dict[Partition, tuple[int, int]] = {}
        for partition, (begin, end) in present.items():
            position = known.get(partition.number, 0)
            ranges[partition] = (begin if position > end else max(begin, position), end)
        total, done = sum(end - begin for begin, end in ranges.values()), 0
        records = read_ranges(self._consumer, ranges)
        while batch := list(islice(records, _BATCH)):
            take(batch)
            self._store.set_positions(
                topic, {record.partition() or 0: offset_of(record) + 1 for record in batch}
            )
            self._store.commit()
            done += len(batch)
            self._progress(f"{topic}: {done:,} of {total:,} {what} read")
        self._store.set_positions(topic, {tp.number: end for tp, (_, end) in ranges.items()})
        self._store.commit()
        return {partition: begin for partition, (begin, _) in present.items()}

    def _add(self, records: list[SourceRecord]) -> None:
        _add(self._store, records)

    def _set(self, records: list[SourceRecord]) -> None:
        statuses = Statuses()
        statuses.take_in(records)
        # A status that was taken back leaves the letter open.
        opened = [place_from(r.key() or b"") for r in records if r.value() is None]
        found = dict.fromkeys(filter(None, opened), LetterStatus.OPEN)
        found |= {place: status.status for place, status in statuses.letters.items()}
        self._store.set_statuses(found)
