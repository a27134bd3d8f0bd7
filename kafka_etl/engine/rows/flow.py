"""The records of one attempt on their way through the chain, in columns of equal length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kafka_etl.engine.rows.faults import Fault, GroupFault, NamedFaults, condition_of
from kafka_etl.engine.rows.mapping import Apply, is_nobodys, map_each, with_record
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
"""One thing of each entry; None: as the source records have it."""


Extra = tuple[Any, Any, Any, str | None]
"""Key, headers, timestamp and topic of one entry."""

NOTHING: Final[Extra] = (KEEP, KEEP, KEEP, None)
"""All is as the source record has it, and goes to the sink's own topic."""


@dataclass(slots=True)
class Extras:
    """What operators set besides the values, in columns; KEEP: as the source record has it."""

    keys: Column = None
    headers: Column = None
    timestamps: Column = None
    topics: Column = None
    """None for the sink's own."""

    @property
    def columns(self) -> tuple[Column, Column, Column, Column]:
        return (self.keys, self.headers, self.timestamps, self.topics)

    def picked(self, pick: Callable[[list[Any]], list[Any]]) -> Extras:
        """The same of some entries."""
        return Extras(*(None if column is None else pick(column) for column in self.columns))

    def followed_by(self, other: Extras, count: int, others: int) -> Extras:
        """Those of `count` entries, and then those of `others` more."""
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
    """The values of a flow as columns.

    Attributes:
        table: With `_row`, the entry each row comes from.
        aside: Entries without a value, which have no row.
        besides: Columns of the entries besides the value, made where the table has them.
    """

    table: pa.Table
    aside: list[int]
    besides: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Flow:
    """Columns: entry i has a value, an origin and perhaps changes besides the value.

    Attributes:
        source: The attempt's records, one per origin.
        values: Current values; NULL for tombstones.
        origins: Index into `source` or SHARED; None: entry i comes from record i.
        extras: What operators set besides the value.
        nulls: Whether any value is NULL.
        shared: Whether any origin is SHARED.
        mixed: Whether an operator that mixes rows has run.
        faults: Origin -> why it failed; its entries are gone from the columns.
        dropped: Entries an operator dropped on purpose.
        decoded: Values as they were decoded, one per origin; None: nobody asks for them.
        keys: Decoded keys, one per origin; None: nothing decodes them.
        key_again: Decodes the key of an origin once more.
        converts_keys: Whether all keys are encoded anew in the end.
        sheet: The values, as columns; None: they are in `values`, which is empty otherwise.
        stamps: Timestamps as the operator in hand was given them.
        set_by: The last operator that set anything besides values.
        parts: What was read of the source records, by part.
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
        return entry if self.origins is None else self.origins[entry]

    def is_own_key(self, entry: int, key: Any) -> bool:
        """Whether this is the source record's key as it was decoded: then its bytes stay."""
        return self.is_key_of(self.origin(entry), key)

    def is_key_of(self, origin: int, key: Any) -> bool:
        """Likewise, by origin. A key that operators can change in place is decoded once more."""
        if self.keys is None or origin == SHARED or key is not self.keys[origin]:
            return False
        if self.key_again is None or type(key) in _UNCHANGEABLE:
            return True
        return bool(self.key_again(origin) == key)

    def fail(self, entry: int, fault: Fault) -> None:
        """The record behind this entry failed; without one origin, the whole attempt did."""
        self.blame(self.origin(entry), fault)

    def blame(self, origin: int, fault: Fault) -> None:
        """This source record failed, or, for SHARED, the whole attempt. The first fault counts."""
        if origin == SHARED:
            raise GroupFault(fault, splittable=not self.mixed)
        self.faults.setdefault(origin, fault)

    def keep(self, chosen: Sequence[object]) -> None:
        """Go on with the entries for which this is true."""
        origins = range(len(self.values)) if self.origins is None else self.origins
        if len(self.stamps) == len(self.values):
            self.stamps = list(compress(self.stamps, chosen))
        self.values = list(compress(self.values, chosen))
        self.origins = list(compress(origins, chosen))
        self.extras = self.extras.picked(lambda column: list(compress(column, chosen)))

    def without_faults(self) -> None:
        """Leave out every entry of a failed record: it yields all of its outputs or none."""
        self.keep(self.sound())

    def sound(self) -> Sequence[object]:
        """For each entry, whether its record has not failed."""
        sound = bytearray(b"\x01") * len(self.source)
        for origin in self.faults:
            sound[origin] = 0
        if self.origins is None:
            return sound
        if not self.shared:
            return list(map(sound.__getitem__, self.origins))
        return [origin == SHARED or sound[origin] for origin in self.origins]

    def present(self) -> list[int]:
        """Entries that have a value."""
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
        """Apply a function to each entry of `column`; with `nulls` False, NULL passes by.

        Returns:
            A result per entry, with NULL where it passed by and FAILED where the function raised;
            those records are in `faults`.
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
            if is_nobodys(error):
                origin = self.origin(entries[row])
                decodes = condition is Condition.DECODE_ERROR
                raise with_record(error, self.source[origin]) if decodes else error
            self.fail(entries[row], Fault(error, condition_of(error, condition), operator))
        return results

    def as_values(self) -> list[Any]:
        """The current values, None for null."""
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
        """The source record of each entry; None where it belongs to all of them."""
        return self.source if self.origins is None else self.spread(self.source, None)

    def keys_now(self) -> list[Any]:
        """The key of each entry, decoded where there is a codec for it."""
        given = self.keys if self.keys is not None else self.read("key")
        return _resolved(self.extras.keys, self.spread(given, None))

    def headers_now(self) -> list[Headers]:
        """A list of its own for each entry: an operator may change it.

        Several entries may come from one record, and an operator may have set one list for all.
        """
        given = _resolved(self.extras.headers, self.spread(self.read("headers"), None))
        if set(map(type, given)) == {list}:
            return list(map(list, given))
        # What is no list at all is for the encoding to refuse.
        return [h.copy() if type(h) is list else [] if h is None else h for h in given]

    def timestamps_now(self) -> list[int]:
        """Milliseconds, -1 for none."""
        return _resolved(self.extras.timestamps, self.spread(self.source_timestamps(), -1))

    def source_timestamps(self) -> list[int]:
        """Of each source record; no pair of kind and time outlives the next, as they would cost."""
        return list(map(_SECOND, map(type(self.source[0]).timestamp, self.source)))

    def extra_of(self, entry: int) -> Extra:
        """What operators have set of this entry besides its value."""
        keys, headers, timestamps, topics = self.extras.columns
        return (
            KEEP if keys is None else keys[entry],
            KEEP if headers is None else headers[entry],
            KEEP if timestamps is None else timestamps[entry],
            None if topics is None else topics[entry],
        )

    def base(self, entry: int) -> Record:
        """What this entry's output has so far besides its value; KEEP: what its source has."""
        origin = self.origin(entry)
        source = None if origin == SHARED else self.source[origin]
        key, headers, timestamp, topic = self.extra_of(entry)
        return Record(None, key, headers, timestamp, topic, source, timestamp is not KEEP)

    def read(self, part: str) -> list[Any]:
        """One thing of each source record, by the name of its method. Not to be changed."""
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
        """A column of the source, over the entries; `shared` for those of all records."""
        if self.origins is None:
            return list[T | S](column)
        if not self.shared:
            return list(map(column.__getitem__, self.origins))
        return [shared if origin == SHARED else column[origin] for origin in self.origins]


def _read_headers(read: Callable[[Any], Any], source: Sequence[SourceRecord]) -> list[Any]:
    """The headers of each record.

    Raises:
        NamedFaults: Those of some records cannot be read: the others are run without them.
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
