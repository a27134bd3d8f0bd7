"""A record, and a batch of them, as they travel from the source to the sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Final, NamedTuple, NoReturn, Protocol, TypeVar, cast

import msgspec

Headers = list[tuple[str, bytes | None]]
"""Header names and values in order; names may repeat, values may be absent."""


class UnreadableHeaders(list[tuple[str, bytes | None]]):
    """Headers that the client cannot read, because a header's name is not UTF-8, for example.

    The list is empty but true, so that no reader takes the record for a record without headers.

    Attributes:
        reason: The client's error.
        met: Whether this process has met unreadable headers: until then no list is checked.
    """

    met: ClassVar[bool] = False

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def __bool__(self) -> bool:
        return True


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


Offsets = Mapping[Partition, int]
"""Partition -> the *next* offset to read, which is also past any transaction markers."""


class SourceRecord(Protocol):
    """One record of a source: the interface of the Kafka client's own class.

    A method called through the class (`map(type(r).value, records)`) costs about 20 ns. Therefore a
    batch keeps the client's objects, and the engine makes no object per record.
    """

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Any: ...  # Headers | None; the client's own stub allows more
    def timestamp(self) -> tuple[int, int]: ...


R = TypeVar("R", bound=SourceRecord)


class _Keep(Enum):
    """The mark "as the source record has it". An enum's member is the same in every process."""

    KEEP = "KEEP"

    def __repr__(self) -> str:
        return self.name


KEEP: Final = _Keep.KEEP


class Record(msgspec.Struct, eq=False, gc=False):
    """One record as an operator sees the record; every attribute may be assigned.

    An operator that annotates its parameter with `Record` is given one. Any operator may return a
    `Record` to set more than the value; attributes that a new `Record` leaves open are taken from
    the source record, so key and headers travel on.

    A C constructor makes the record, because there is one per record; the garbage collector does
    not track records.

    Attributes:
        value: The decoded value; None: a tombstone.
        key: The key in bytes, or decoded when the source names a codec for keys; None for none.
        headers: (name, value) pairs in order.
        timestamp: Milliseconds since the epoch; -1: the source record has none. An output has the
            sink's timestamp unless the operator sets one.
        destination: The topic given by `to`; None for the sink's own.
        source: The source record; None: an operator made the record.
        stamped: Whether an operator set the timestamp, perhaps to the same number.
        emptied: Whether an operator took the value away, as `tombstone` does: the value of a
            decoded `null` is None as well.
    """

    value: Any
    key: Any = KEEP
    headers: Headers = cast("Headers", KEEP)
    timestamp: int = cast("int", KEEP)
    destination: str | None = None
    source: SourceRecord | None = None
    stamped: bool = False
    emptied: bool = False

    def __class_getitem__(cls, item: object) -> NoReturn:
        """Raise TypeError: the value of a record is plain data."""
        name = getattr(item, "__name__", str(item))
        raise TypeError(
            f"Record takes no class: annotate the parameter with `{name}` to be given the value as "
            f"an object of it; to route such an object, return `Record(it).to(topic)`"
        )

    @classmethod
    def of(cls, source: SourceRecord, value: Any) -> Record:
        """The source record as it is, with this value."""
        return cls(value, source.key(), headers_of(source), source.timestamp()[1], None, source)

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
        """A copy with these attributes changed; the copy keeps its source, and so its place."""
        made = _copied(self) if headers is KEEP else _copy(self)
        if headers is not KEEP:
            made.headers = headers
        if value is not KEEP:
            made.value = value
            made.emptied = value is None
        if key is not KEEP:
            made.key = key
        if timestamp is not KEEP:
            made.timestamp = timestamp
            made.stamped = True
        return made

    def to(self, topic: str) -> Record:
        """A copy that goes to `topic`: the sink's own, or one that its `routes` name or match."""
        made = _copied(self)
        made.destination = topic
        return made

    def tombstone(self) -> Record:
        """A copy without a value, which deletes the key on a compacted topic."""
        return self.replace(value=None)

    def onto(self, base: Record) -> Record:
        """This record, with open attributes taken from `base`."""
        if self.source is not None:
            return self
        made = _copy(base)
        made.value = self.value
        if self.key is not KEEP:
            made.key = self.key
        if not isinstance(self.headers, _Keep):
            made.headers = self.headers
        if not isinstance(self.timestamp, _Keep):
            made.timestamp, made.stamped = self.timestamp, True
        if self.destination is not None:
            made.destination = self.destination
        return made

    def __repr__(self) -> str:
        at = (
            f" from {self.topic}[{self.partition}]@{self.offset}" if self.source is not None else ""
        )
        return f"<Record {self.value!r}{at}>"


_copy: Final = cast("Callable[[Record], Record]", Record.__copy__)  # type: ignore[attr-defined]
"""In C; `copy.copy` comes to it the long way."""


def _copied(record: Record) -> Record:
    """A copy with its own list of headers, so that no change reaches the original."""
    made = _copy(record)
    if type(made.headers) is list:
        made.headers = made.headers.copy()
    return made


def headers_of(record: SourceRecord) -> Headers:
    """The headers of one record; `UnreadableHeaders` where the client cannot read them."""
    try:
        return record.headers() or []
    except Exception as error:  # noqa: BLE001 - the client raises one of several
        return mark_unreadable(record, error)


def mark_unreadable(record: SourceRecord, error: BaseException) -> UnreadableHeaders:
    """Replace the headers of a record by the mark that the headers cannot be read.

    The client reads headers once: a second call on a record with unreadable headers gives a list
    with a NULL in it, and any use of the NULL ends the process.
    """
    UnreadableHeaders.met = True
    unreadable = UnreadableHeaders(f"{type(error).__name__}: {error}")
    replace = getattr(record, "set_headers", None)
    if replace is not None:
        replace(unreadable)
    return unreadable


def _number(number: int | None) -> int:
    return -1 if number is None else number


def last_records(records: Sequence[R], topic: str | None = None) -> dict[Partition, R]:
    """The last record of each partition.

    Records of one partition stand in the order of their offsets, so the last one wins.

    Args:
        records: Records of any number of partitions.
        topic: Topic of all the records; None: the topic of each record is read.
    """
    if not records:
        return {}
    read = type(records[0])
    topics = set(map(read.topic, records)) if topic is None else {topic}
    if len(topics) == 1:
        by_number = dict(zip(map(read.partition, records), records, strict=True))
        only = topics.pop() or ""
        return {Partition(only, _number(n)): record for n, record in by_number.items()}
    by_place = {(record.topic(), record.partition()): record for record in records}
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
        begins: Partition -> offset before this batch, for the partitions of `progress`.
    """

    records: Sequence[SourceRecord]
    progress: Offsets
    begins: Offsets

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ranges(self) -> dict[Partition, tuple[int, int]]:
        """First and next offset, by partition."""
        return {partition: (self.begins[partition], at) for partition, at in self.progress.items()}

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
            [r for r in self.records if partition_of(r) not in partitions],
            {tp: offset for tp, offset in self.progress.items() if tp not in partitions},
            {tp: offset for tp, offset in self.begins.items() if tp not in partitions},
        )


NESTED_RECORD: Final = "the value of a Record is a Record: return the inner one"


def partition_of(record: SourceRecord) -> Partition:
    return Partition(record.topic() or "", _number(record.partition()))


def offset_of(record: SourceRecord) -> int:
    return _number(record.offset())
