"""The records of one attempt on their way through the chain, in columns of equal length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kafka_etl.engine.rows.faults import Fault, GroupFault, NamedFaults, condition_of
from kafka_etl.engine.rows.mapping import (
    Apply,
    is_nobodys,
    is_not_the_operators,
    map_each,
    with_record,
)
from kafka_etl.errors import Permanent
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import (
    KEEP,
    Headers,
    Record,
    SourceRecord,
    UnreadableHeaders,
    mark_unreadable,
)

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
S = TypeVar("S")

_SECOND: Final = itemgetter(1)


class _Null:
    """A Kafka null value (a tombstone), as opposed to a decoded `null`."""

    def __repr__(self) -> str:
        return "NULL"


NULL: Final = _Null()


_UNCHANGEABLE: Final[frozenset[type]] = frozenset({str, bytes, int, float, bool, type(None)})
"""Types of decoded keys that no operator can change in place."""


Column = list[Any] | None
"""One part of every entry, such as keys; None: all entries have the part of their source record."""


Extra = tuple[Any, Any, Any, str | None]
"""Key, headers, timestamp and topic of one entry."""

NOTHING: Final[Extra] = (KEEP, KEEP, KEEP, None)
"""No part set: key, headers and timestamp of the source record, and the sink's own topic."""


@dataclass(slots=True)
class Extras:
    """The parts that operators set besides the values, in columns.

    Attributes:
        keys: Keys; KEEP: the key of the source record.
        headers: Headers; KEEP: the headers of the source record.
        timestamps: Milliseconds since the epoch; KEEP: not set by an operator.
        topics: Topics; an entry of None: the sink's own topic.
    """

    keys: Column = None
    headers: Column = None
    timestamps: Column = None
    topics: Column = None

    @property
    def columns(self) -> tuple[Column, Column, Column, Column]:
        return (self.keys, self.headers, self.timestamps, self.topics)

    def picked(self, pick: Callable[[list[Any]], list[Any]]) -> Extras:
        """The extras of some entries.

        Args:
            pick: Takes a column of all entries, and gives the column of some.
        """
        return Extras(*(None if column is None else pick(column) for column in self.columns))

    def followed_by(self, other: Extras, count: int, others: int) -> Extras:
        """These extras, of `count` entries, followed by the other extras, of `others` entries."""
        pairs = zip(self.columns, other.columns, NOTHING, strict=True)
        return Extras(
            *(
                None
                if mine is None and theirs is None
                else [*(mine or [nothing] * count), *(theirs or [nothing] * others)]
                for mine, theirs, nothing in pairs
            )
        )


@dataclass(slots=True)
class Sheet:
    """The values of a flow as a table.

    Attributes:
        table: Table of the values, with the column `_row`: the entry each row comes from.
        aside: Entries with a null value, which have no row.
        besides: Name -> Arrow column of the entries before any table operator, such as `_key`; made
            when an operator first asks for the column.
    """

    table: pa.Table
    aside: list[int]
    besides: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Flow:
    """The entries of one attempt, in columns of equal length.

    At first, each entry is a source record; operators drop entries and add others. An entry has a
    value, an origin (its source record, or SHARED: all records) and the extras an operator set.

    Attributes:
        source: Source records of the attempt, one per origin.
        values: Current values, one per entry; NULL for tombstones. Empty while `sheet` is set.
        origins: Index into `source`, or SHARED, of each entry; None: entry i comes from record i.
        extras: Keys, headers, timestamps and topics that operators set.
        nulls: Whether any value is NULL.
        shared: Whether any origin is SHARED.
        mixed: Whether an operator that mixes rows has run.
        faults: Origin -> fault of the record; `without_faults` removes the entries of the record.
        dropped: Number of entries that operators dropped on purpose.
        decoded: Decoded values, one per origin, by which the encode stage recognises values that no
            operator has replaced; None: not kept.
        keys: Decoded keys, one per origin; None: no codec decodes keys.
        key_again: Function that decodes the key of an origin once more.
        converts_keys: Whether the sink's codec encodes all keys anew.
        sheet: The values as a table; None: the values are in `values`.
        stamps: Timestamps as the current operator was given them, one per entry.
        set_by: Name of the last operator that set anything besides values.
        parts: Method of `SourceRecord` -> its results for all source records; see `read`.
    """

    source: Sequence[SourceRecord]
    values: list[Any] = field(default_factory=list[Any])
    origins: list[int] | None = None
    extras: Extras = field(default_factory=Extras)
    nulls: bool = False
    shared: bool = False
    mixed: bool = False
    faults: dict[int, Fault] = field(default_factory=dict[int, Fault])
    dropped: int = 0
    decoded: list[Any] | None = None
    keys: list[Any] | None = None
    key_again: Callable[[int], Any] | None = None
    converts_keys: bool = False
    sheet: Sheet | None = None
    stamps: list[int] = field(default_factory=list[int])
    set_by: str = ""
    parts: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])

    def __len__(self) -> int:
        return len(self.values)

    def origin(self, entry: int) -> int:
        """The position of the entry's source record in the attempt, or SHARED."""
        return entry if self.origins is None else self.origins[entry]

    def is_own_key(self, entry: int, key: Any) -> bool:
        """Whether `key` is the unchanged decoded key of the entry's source record."""
        return self.is_key_of(self.origin(entry), key)

    def is_key_of(self, origin: int, key: Any) -> bool:
        """Whether `key` is the unchanged decoded key of this origin.

        An operator may have changed a mutable key in place: such a key is compared with the key
        decoded once more.
        """
        if self.keys is None or origin == SHARED or key is not self.keys[origin]:
            return False
        if self.key_again is None or type(key) in _UNCHANGEABLE:
            return True
        return bool(self.key_again(origin) == key)

    def fail(self, entry: int, fault: Fault) -> None:
        """Note the fault of the record behind an entry.

        Raises:
            GroupFault: The entry belongs to all records: the whole attempt failed.
        """
        self.blame(self.origin(entry), fault)

    def blame(self, origin: int, fault: Fault) -> None:
        """Note the fault of a source record; the first fault of a record counts.

        Raises:
            GroupFault: The origin is SHARED: the whole attempt failed.
        """
        if origin == SHARED:
            raise GroupFault(fault, splittable=not self.mixed)
        self.faults.setdefault(origin, fault)

    def keep(self, chosen: Sequence[object]) -> None:
        """Keep the entries for which `chosen`, of one element per entry, is true."""
        origins = range(len(self.values)) if self.origins is None else self.origins
        if len(self.stamps) == len(self.values):
            self.stamps = list(compress(self.stamps, chosen))
        self.values = list(compress(self.values, chosen))
        self.origins = list(compress(origins, chosen))
        self.extras = self.extras.picked(lambda column: list(compress(column, chosen)))

    def without_faults(self) -> None:
        """Remove all entries of failed records: a record yields all of its outputs or none."""
        self.keep(self.sound())

    def sound(self) -> Sequence[object]:
        """For each entry, true where the record behind the entry has not failed."""
        sound = bytearray(b"\x01") * len(self.source)
        for origin in self.faults:
            sound[origin] = 0
        if self.origins is None:
            return sound
        if not self.shared:
            return list(map(sound.__getitem__, self.origins))
        return [origin == SHARED or sound[origin] for origin in self.origins]

    def present(self) -> list[int]:
        """The entries whose value is not NULL."""
        return [e for e, value in enumerate(self.values) if value is not NULL]

    def each(
        self,
        apply: Apply,
        column: list[Any],
        *,
        nulls: bool,
        condition: Condition,
        operator: str,
    ) -> list[Any]:
        """Apply a function to each entry of a column.

        Args:
            apply: Calls the function.
            column: Arguments, one per entry.
            nulls: Whether the function is also called for entries whose value is NULL.
            condition: Condition of the faults, where the error is an ordinary one.
            operator: Name of the operator or codec, for the faults.

        Returns:
            A result per entry; NULL where the function was not called; FAILED where the function
            raised, and the record is in `faults`.

        Raises:
            GroupFault: The function raised for an entry that belongs to all records.
            Exception: The function raised an error for which no record is to blame.
        """
        if nulls or not self.nulls:
            entries: Sequence[int] = range(len(column))
            results, failed = apply(entries, column)
        else:
            entries = self.present()
            done, failed = apply(entries, [column[e] for e in entries])
            results = [NULL] * len(column)
            for entry, result in zip(entries, done, strict=True):
                results[entry] = result
        for row, error in failed:
            passes = is_nobodys
            if condition is Condition.OPERATOR_ERROR:
                passes = is_not_the_operators
            if passes(error):
                origin = self.origin(entries[row])
                decodes = condition is Condition.DECODE_ERROR
                raise with_record(error, self.source[origin]) if decodes else error
            self.fail(entries[row], Fault(error, condition_of(error, condition), operator))
        return results

    def as_values(self) -> list[Any]:
        """The current values, with None for NULL."""
        return [None if v is NULL else v for v in self.values] if self.nulls else self.values

    def as_records(self) -> list[Record]:
        """A `Record` per entry, with the current value."""
        self.stamps = self.timestamps_now()
        columns: list[Iterable[Any]] = [
            self.as_values(),
            self.keys_now(),
            self.headers_now(),
            self.stamps,
            self.extras.topics or repeat(None),
            self.sources(),
        ]
        if self.extras.timestamps is not None:
            columns.append([stamp is not KEEP for stamp in self.extras.timestamps])
        return list(map(Record, *columns))

    def sources(self) -> Sequence[SourceRecord | None]:
        """The source record of each entry; None for an entry that belongs to all records."""
        return self.source if self.origins is None else self.spread(self.source, None)

    def keys_now(self) -> list[Any]:
        """The key of each entry, decoded where the source's key codec is in use."""
        given = self.keys if self.keys is not None else self.read("key")
        return _resolved(self.extras.keys, self.spread(given, None))

    def headers_now(self) -> list[Headers]:
        """The headers of each entry, as a new list per entry.

        An operator may change the list in place, while several entries may come from one record, or
        an earlier operator may have set the same list for several entries.
        """
        given = _resolved(self.extras.headers, self.spread(self.read("headers"), None))
        if set(map(type, given)) == {list}:
            return list(map(list, given))
        # Headers that are not a list are left as they are: the encode stage refuses them.
        return [h.copy() if type(h) is list else [] if h is None else h for h in given]

    def timestamps_now(self) -> list[int]:
        """The timestamp of each entry, in milliseconds since the epoch; -1: no timestamp."""
        return _resolved(self.extras.timestamps, self.spread(self.source_timestamps(), -1))

    def source_timestamps(self) -> list[int]:
        """The timestamp of each source record, in milliseconds since the epoch; -1: no timestamp.

        Each (kind, timestamp) pair of the client is dropped before the next is made: keeping all
        pairs would cost time.
        """
        return list(map(_SECOND, map(type(self.source[0]).timestamp, self.source)))

    def extra_of(self, entry: int) -> Extra:
        """The parts that operators have set of one entry besides its value."""
        keys, headers, timestamps, topics = self.extras.columns
        return (
            KEEP if keys is None else keys[entry],
            KEEP if headers is None else headers[entry],
            KEEP if timestamps is None else timestamps[entry],
            None if topics is None else topics[entry],
        )

    def base(self, entry: int) -> Record:
        """A record with all parts of an entry but its value, for an operator's own record to fill.

        KEEP stands for the part of the source record.
        """
        origin = self.origin(entry)
        source = None if origin == SHARED else self.source[origin]
        key, headers, timestamp, topic = self.extra_of(entry)
        return Record(None, key, headers, timestamp, topic, source, timestamp is not KEEP)

    def read(self, part: str) -> list[Any]:
        """One part of each source record, read once per attempt. The list must not be changed.

        Args:
            part: Name of the method of `SourceRecord`: `key`, `value`, `headers` …

        Raises:
            NamedFaults: The headers of some records cannot be read.
        """
        column = self.parts.get(part)
        if column is None:
            read = getattr(type(self.source[0]), part)
            if part == "headers":
                column = _read_headers(read, self.source)
            else:
                column = list[Any](map(read, self.source))
            self.parts[part] = column
        return column

    def spread(self, column: Sequence[T], shared: S) -> list[T | S]:
        """A column with one element per entry, from a column with one element per source record.

        Args:
            column: One element per source record.
            shared: The element of entries that belong to all records.
        """
        if self.origins is None:
            return list[T | S](column)
        if not self.shared:
            return list(map(column.__getitem__, self.origins))
        return [shared if origin == SHARED else column[origin] for origin in self.origins]


def _read_headers(read: Callable[[Any], Any], source: Sequence[SourceRecord]) -> list[Any]:
    """The headers of each record.

    Raises:
        NamedFaults: The headers of some records cannot be read: the others are run without them.
    """
    column, failed = map_each(read, len(source), source)
    for row, error in failed:
        column[row] = mark_unreadable(source[row], error)
    if UnreadableHeaders.met and UnreadableHeaders in set(map(type, column)):
        raise NamedFaults(
            {
                row: Fault(
                    Permanent(f"its headers cannot be read ({headers.reason})"),
                    Condition.DECODE_ERROR,
                )
                for row, headers in enumerate(column)
                if type(headers) is UnreadableHeaders
            }
        )
    return column


def _resolved(changed: Column, given: list[Any]) -> list[Any]:
    if changed is None:
        return given
    return [g if c is KEEP else c for c, g in zip(changed, given, strict=True)]
