"""A record, and a batch of them, as they travel from the source to the sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

Headers = list[tuple[str, bytes | None]]
"""Header names and values in order; names may repeat, values may be absent."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


Offsets = Mapping[Partition, int]
"""Partition -> the *next* offset to read: one past the last done, or further, past markers."""


class SourceRecord(Protocol):
    """One record as a source hands it out: the shape of the Kafka client's own message.

    Read through the class (`map(type(r).value, records)`) a call costs about 20 ns. That is why
    a batch keeps the client's objects as they are and nothing of ours is made per record.
    """

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Any: ...  # Headers | None; the client's own stub allows more
    def timestamp(self) -> tuple[int, int]: ...


R = TypeVar("R", bound=SourceRecord)


class _Keep:
    """Stands for: as the source record has it."""

    def __reduce__(self) -> str:
        return "KEEP"  # the same one in every process


KEEP: Final = _Keep()

Changes = tuple[Any, Headers | _Keep, int | _Keep, str | _Keep]
"""Key, headers, timestamp and topic of the output; KEEP: as the source record has it."""

UNCHANGED: Final[Changes] = (KEEP, KEEP, KEEP, KEEP)


class Record:
    """One record as an operator sees it: the source record, and what was changed of it.

    An operator that takes a `Record` is given one; any operator may return one, to set more than
    the value. What is not set stays as the source record has it: key and headers travel on.

    Args:
        value: The decoded value; may be assigned.
        key: The key in bytes, or decoded when the source names a codec for keys.
        headers: (name, value) pairs in order.
        timestamp: Milliseconds since the epoch.
    """

    __slots__ = ("changes", "source", "value")

    value: Any
    source: SourceRecord | None
    """The source record behind it; None for a record an operator made."""
    changes: Changes | None
    """What differs from the source record; None: nothing but the value."""

    def __init__(
        self,
        value: Any,
        *,
        key: Any = KEEP,
        headers: Headers | _Keep = KEEP,
        timestamp: int | _Keep = KEEP,
    ) -> None:
        self.value = value
        self.source = None
        self.changes = (key, headers, timestamp, KEEP)

    @property
    def key(self) -> Any:
        """The key; None where there is none."""
        changes = self.changes
        if changes is not None and changes[0] is not KEEP:
            return changes[0]
        return None if self.source is None else self.source.key()

    @property
    def headers(self) -> Headers:
        """(name, value) pairs in order; change them with `replace`."""
        changes = self.changes
        if changes is not None and not isinstance(changes[1], _Keep):
            return changes[1]
        return [] if self.source is None else self.source.headers() or []

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch; -1 where the source record has none."""
        changes = self.changes
        if changes is not None and not isinstance(changes[2], _Keep):
            return changes[2]
        return -1 if self.source is None else self.source.timestamp()[1]

    @property
    def topic(self) -> str:
        """The source topic; empty for a record an operator made."""
        return "" if self.source is None else self.source.topic() or ""

    @property
    def partition(self) -> int:
        """The source partition; -1 for a record an operator made."""
        return -1 if self.source is None else _number(self.source.partition())

    @property
    def offset(self) -> int:
        """The source offset; -1 for a record an operator made."""
        return -1 if self.source is None else _number(self.source.offset())

    @property
    def destination(self) -> str | None:
        """The topic given by `to`; None for the sink's own."""
        changes = self.changes
        return None if changes is None or isinstance(changes[3], _Keep) else changes[3]

    def header(self, name: str) -> bytes | None:
        """The last value of the header `name`; None where it is absent or has none."""
        return next((value for key, value in reversed(self.headers) if key == name), None)

    def replace(
        self,
        *,
        value: Any = KEEP,
        key: Any = KEEP,
        headers: Headers | _Keep = KEEP,
        timestamp: int | _Keep = KEEP,
    ) -> Record:
        """A copy with these parts changed; it keeps its origin, and so its place in the order."""
        changes = (key, headers, timestamp, KEEP)
        return RecordView(
            self.value if value is KEEP else value,
            self.source,
            changes if self.changes is None else _newer(changes, self.changes),
        )

    def to(self, topic: str) -> Record:
        """A copy that goes to `topic`: the sink's own, or one of its `routes`."""
        return self._copy(self.value, (KEEP, KEEP, KEEP, topic))

    def tombstone(self) -> Record:
        """A copy without a value: on a compacted topic it deletes its key."""
        return self._copy(None, UNCHANGED)

    def onto(self, base: Record) -> Record:
        """This record, with what it leaves open taken from `base`."""
        if self.source is not None:
            return self
        return base._copy(self.value, self.changes or UNCHANGED)

    def _copy(self, value: Any, changes: Changes) -> Record:
        before = self.changes
        return RecordView(
            value, self.source, changes if before is None else _newer(changes, before)
        )

    def __reduce__(self) -> tuple[type[Record], tuple[Any, ...]]:
        return RecordView, (self.value, self.source, self.changes)

    def __repr__(self) -> str:
        at = (
            f" from {self.topic}[{self.partition}]@{self.offset}" if self.source is not None else ""
        )
        return f"<Record {self.value!r}{at}>"


class RecordView(Record):
    """A record made by the engine: two plain arguments, because it is made once per record."""

    __slots__ = ()

    def __init__(
        self, value: Any, source: SourceRecord | None, changes: Changes | None = None
    ) -> None:
        self.value = value
        self.source = source
        self.changes = changes


def _newer(changes: Changes, before: Changes) -> Changes:
    return (
        before[0] if changes[0] is KEEP else changes[0],
        before[1] if isinstance(changes[1], _Keep) else changes[1],
        before[2] if isinstance(changes[2], _Keep) else changes[2],
        before[3] if isinstance(changes[3], _Keep) else changes[3],
    )


def _number(number: int | None) -> int:
    return -1 if number is None else number


def last_records(records: Sequence[R]) -> dict[Partition, R]:
    """The last record of each partition, in one pass without Python code.

    Records of one partition stand in the order of their offsets, so the last one wins.
    """
    if not records:
        return {}
    read = type(records[0])
    topics = set(map(read.topic, records))
    if len(topics) == 1:
        topic = topics.pop() or ""
        by_number = dict(zip(map(read.partition, records), records, strict=True))
        return {Partition(topic, _number(n)): record for n, record in by_number.items()}
    places = zip(map(read.topic, records), map(read.partition, records), strict=True)
    by_place = dict(zip(places, records, strict=True))
    return {Partition(t or "", _number(n)): record for (t, n), record in by_place.items()}


def next_offsets(records: Sequence[SourceRecord]) -> dict[Partition, int]:
    """Partition -> offset after its last record."""
    return {tp: offset_of(record) + 1 for tp, record in last_records(records).items()}


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of any number of partitions, in the order of offsets within each.

    Attributes:
        records: The source's own objects.
        progress: The offsets to commit once every record is settled; past markers and aborted
            records where the source has seen the end of a partition. May name partitions without
            a record here.
        begins: Where those partitions stand before this batch.
    """

    records: Sequence[SourceRecord]
    progress: Offsets
    begins: Offsets

    def __len__(self) -> int:
        return len(self.records)

    def split(self, size: int) -> tuple[Batch, Batch]:
        """The first `size` records, and the rest, which keeps the progress of the whole."""
        if size >= len(self.records):
            return self, Batch((), {}, {})
        front = self.records[:size]
        done = next_offsets(front)
        return (
            Batch(front, done, self.begins),
            Batch(self.records[size:], self.progress, {**self.begins, **done}),
        )

    def without(self, partitions: frozenset[Partition]) -> Batch:
        """The batch without the records and the progress of these partitions."""
        return Batch(
            [r for r in self.records if origin(r) not in partitions],
            {tp: offset for tp, offset in self.progress.items() if tp not in partitions},
            {tp: offset for tp, offset in self.begins.items() if tp not in partitions},
        )


def origin(record: SourceRecord) -> Partition:
    return Partition(record.topic() or "", _number(record.partition()))


def offset_of(record: SourceRecord) -> int:
    return _number(record.offset())
