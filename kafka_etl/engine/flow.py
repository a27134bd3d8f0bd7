"""The records of one attempt on their way through the chain, in columns of equal length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import not_
from typing import Any, Final, TypeVar

from kafka_etl.engine.mapping import Apply
from kafka_etl.errors import OperatorDied, OperatorTimeout
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import Changes, Record, RecordView, SourceRecord

T = TypeVar("T")
S = TypeVar("S")


class _Null:
    """A Kafka null value (a tombstone), as opposed to a decoded `null`."""

    def __repr__(self) -> str:
        return "NULL"


NULL: Final = _Null()


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record failed in this attempt."""

    error: BaseException
    condition: Condition
    operator: str = ""


class GroupFault(Exception):
    """A batch operator failed, or an output without one origin did: any record may be to blame.

    Args:
        fault: What happened.
        splittable: Whether a part of the group may be tried alone; not after an operator that
            mixes rows.
    """

    def __init__(self, fault: Fault, *, splittable: bool) -> None:
        super().__init__(fault)  # not its text: `__str__` of a user's error may raise
        self.fault = fault
        self.splittable = splittable


class NamedFaults(Exception):
    """A batch operator named its bad records; the others must be run again without them."""

    def __init__(self, faults: Mapping[int, Fault]) -> None:
        super().__init__(f"{len(faults)} records")
        self.faults = faults


@dataclass(slots=True)
class Flow:
    """Columns: entry i has a value, an origin and perhaps changes besides the value.

    Attributes:
        source: The attempt's records, one per origin.
        values: Current values; NULL for tombstones.
        origins: Index into `source` or SHARED; None: entry i comes from record i.
        changes: What operators set besides the value; None: nothing so far.
        nulls: Whether any value is NULL.
        mixed: Whether an operator that mixes rows has run.
        faults: Origin -> why it failed; its entries are gone from the columns.
        dropped: Entries an operator dropped on purpose.
        keys: Decoded keys, one per origin; None: nothing decodes them.
    """

    source: Sequence[SourceRecord]
    values: list[Any] = field(default_factory=list[Any])
    origins: list[int] | None = None
    changes: list[Changes | None] | None = None
    nulls: bool = False
    mixed: bool = False
    faults: dict[int, Fault] = field(default_factory=dict[int, Fault])
    dropped: int = 0
    keys: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def origin(self, entry: int) -> int:
        return entry if self.origins is None else self.origins[entry]

    def fail(self, entry: int, fault: Fault) -> None:
        """The record behind this entry failed; without one origin, the whole attempt did."""
        self.blame(self.origin(entry), fault)

    def blame(self, origin: int, fault: Fault) -> None:
        """This source record failed, or, for SHARED, the whole attempt."""
        if origin == SHARED:
            raise GroupFault(fault, splittable=not self.mixed)
        self.faults[origin] = fault

    def keep(self, chosen: Sequence[object]) -> None:
        """Go on with the entries for which this is true."""
        origins = range(len(self.values)) if self.origins is None else self.origins
        self.values = list(compress(self.values, chosen))
        self.origins = list(compress(origins, chosen))
        if self.changes is not None:
            self.changes = list(compress(self.changes, chosen))

    def without_faults(self) -> None:
        """Leave out every entry of a failed record: it yields all of its outputs or none."""
        self.keep(self.sound())

    def sound(self) -> Sequence[object]:
        """For each entry, whether its record has not failed."""
        if self.origins is not None:
            return list(map(not_, map(self.faults.__contains__, self.origins)))
        sound = bytearray(b"\x01") * len(self.values)
        for origin in self.faults:
            sound[origin] = 0
        return sound

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
            self.fail(entries[row], Fault(error, condition_of(error, condition), operator))
        return results

    def as_values(self) -> list[Any]:
        """The current values, None for null."""
        return [None if v is NULL else v for v in self.values] if self.nulls else self.values

    def as_records(self) -> list[Record]:
        """A `Record` per entry, with the current value."""
        if self.changes is None:
            return list(map(RecordView, self.as_values(), self.sources()))
        return list(map(RecordView, self.as_values(), self.sources(), self.changes))

    def sources(self) -> Sequence[SourceRecord | None]:
        """The source record of each entry; None where it belongs to all of them."""
        if self.origins is None:
            return self.source
        return by_origin(self.origins, self.source, None)

    def base(self, entry: int) -> Record:
        """What this entry's output has so far besides its value."""
        origin = self.origin(entry)
        source = None if origin == SHARED else self.source[origin]
        return RecordView(None, source, None if self.changes is None else self.changes[entry])


def condition_of(error: BaseException, usual: Condition = Condition.OPERATOR_ERROR) -> Condition:
    """What an error of a call stands for in a dead letter."""
    if isinstance(error, OperatorTimeout):
        return Condition.TIMEOUT
    return Condition.WORKER_CRASHED if isinstance(error, OperatorDied) else usual


def by_origin(origins: list[int], column: Sequence[T], shared: S) -> list[T | S]:
    """A column of the source, spread over entries; `shared` where one belongs to all records."""
    if SHARED not in origins:
        return list(map(column.__getitem__, origins))
    return [shared if origin == SHARED else column[origin] for origin in origins]
