"""What an operator gave for each entry, turned into columns again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from operator import attrgetter, is_
from typing import Any, Final, TypeGuard

from kafka_etl.bind import BoundOperator
from kafka_etl.declare import DROP
from kafka_etl.engine.flow import NULL, Fault, Flow
from kafka_etl.engine.mapping import FAILED
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import KEEP, UNCHANGED, Changes, Record, RecordView

_GONE: Final[set[type]] = {type(DROP), type(FAILED)}
_RECORDS: Final[set[type]] = {Record, RecordView}
_MORE_THAN_A_VALUE: Final = (
    list,
    Iterator,
    Record,
    type(None),
    type(DROP),
    type(NULL),
    type(FAILED),
)

_VALUE: Final = attrgetter("value")
_SOURCE: Final = attrgetter("source")
_CHANGES: Final = attrgetter("changes")


def collect(flow: Flow, operator: BoundOperator, results: list[Any]) -> None:
    """Go on with what the operator gave for each entry.

    Most often that is one value each, or one or none: then no Python code runs per record.
    """
    kinds = _special(results) - {type(NULL)}  # a null value that passed by is where it was
    gone = kinds & (_GONE | {type(None)} if operator.shape.may_drop else _GONE)
    flow.values = results
    if gone:
        _leave_out(flow, gone)
    if kinds == gone or (kinds - gone <= _RECORDS and _unpacked(flow)):
        return
    spread = Spread(flow, operator)
    for entry, result in enumerate(flow.values):
        spread.add(entry, flow.origin(entry), result)
    spread.finish()


def has_more_than_values(results: list[Any]) -> bool:
    return bool(_special(results))


def _special(results: list[Any]) -> set[type]:
    """Which results are more than one plain value; looks at types, not at each record."""
    return {kind for kind in set(map(type, results)) if issubclass(kind, _MORE_THAN_A_VALUE)}


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _leave_out(flow: Flow, gone: set[type]) -> None:
    """The common case of a filter: every entry has one value or none."""
    results = flow.values
    chosen = [type(result) not in gone for result in results]
    failed = sum(result is FAILED for result in results) if flow.faults else 0
    flow.dropped += chosen.count(False) - failed
    flow.keep(chosen)
    if flow.faults:
        flow.without_faults()


def _unpacked(flow: Flow) -> bool:
    """Take records apart into columns, where each entry gave one value or one record.

    A record an operator made itself belongs to the entry it was given for. Not done, and False,
    where a record belongs elsewhere, or to no entry alone.
    """
    if SHARED in (flow.origins or ()):
        return False
    results = flow.values
    if set(map(type, results)) == {RecordView} and all(
        map(is_, map(_SOURCE, results), flow.sources())
    ):
        values: list[Any] = list(map(_VALUE, results))
        changes: list[Changes | None] = list(map(_CHANGES, results))
    else:
        records = [result if isinstance(result, Record) else None for result in results]
        if not _are_at_home(flow, records):
            return False
        values = [
            result if record is None else record.value
            for result, record in zip(results, records, strict=True)
        ]
        changes = [
            before if record is None else _on_top(record, before)
            for record, before in zip(records, flow.changes or repeat(None), strict=False)
        ]
    flow.nulls = flow.nulls or type(None) in set(map(type, values))
    flow.values = [NULL if v is None else v for v in values] if flow.nulls else values
    flow.changes = changes if any(changes) else None
    return True


def _are_at_home(flow: Flow, records: list[Record | None]) -> bool:
    """Whether each record was made for its entry."""
    return all(
        record is None or record.source is None or record.source is source
        for record, source in zip(records, flow.sources(), strict=True)
    )


def _on_top(record: Record, before: Changes | None) -> Changes | None:
    """What a record sets; what a new one leaves open is as it was before."""
    if before is None or record.source is not None:
        return record.changes
    return record.onto(RecordView(None, None, before)).changes


class Spread:
    """Collects what an operator gave where that is not simply one value per entry."""

    def __init__(self, flow: Flow, operator: BoundOperator) -> None:
        self._flow = flow
        self._operator = operator
        self._values: list[Any] = []
        self._origins: list[int] = []
        self._changes: list[Changes | None] = []
        self._decoded = dict(zip(map(id, flow.source), flow.keys or (), strict=False))

    def add(self, entry: int, origin: int, result: Any) -> None:
        """What the operator gave for one entry: an output, several, or none."""
        if result is None and not self._operator.shape.may_drop:
            self._refuse(origin, "returned None; return DROP, or annotate `-> dict | None`")
        elif result is None or (_is_list(result) and not result):
            self._flow.dropped += 1
        else:
            for item in result if _is_list(result) else [result]:
                self.add_output(entry, origin, item)

    def add_output(self, entry: int | None, origin: int, item: Any) -> None:
        """One output; `entry` is the one it was made from, where it was made from one."""
        flow = self._flow
        if item is DROP:
            flow.dropped += 1
            return
        if item is None:
            self._refuse(origin, "returned a list with None in it; put DROP there, or leave it out")
            return
        changes = None if flow.changes is None or entry is None else flow.changes[entry]
        if isinstance(item, Record):
            record = item if entry is None else item.onto(flow.base(entry))
            changes = self._in_full(record) if origin == SHARED else record.changes
            item = NULL if item.value is None else item.value
        self._values.append(item)
        self._origins.append(origin)
        self._changes.append(changes)

    def finish(self) -> None:
        flow = self._flow
        flow.values = self._values
        flow.nulls = any(value is NULL for value in self._values)
        flow.changes = self._changes if any(self._changes) else None
        one_to_one = self._origins == list(range(len(flow.source)))
        flow.origins = None if one_to_one else self._origins
        if flow.faults:
            flow.without_faults()

    def _in_full(self, record: Record) -> Changes:
        """The changes of an output that has no source record from which to keep anything."""
        _, _, timestamp, topic = record.changes or UNCHANGED
        key, source = record.key, record.source
        if source is not None and key is self._decoded.get(id(source), KEEP):
            key = source.key()  # untouched: the bytes stay, and with them the partition
        return (key, record.headers, timestamp, topic)

    def _refuse(self, origin: int, what: str) -> None:
        fault = Fault(TypeError(what), Condition.OPERATOR_ERROR, self._operator.name)
        self._flow.blame(origin, fault)
