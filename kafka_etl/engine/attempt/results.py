"""The results of an operator, turned into the columns of a `Flow`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import attrgetter, is_, is_not
from typing import Any, Final, TypeGuard

from kafka_etl.engine.rows.faults import Fault, GroupFault, NamedFaults
from kafka_etl.engine.rows.flow import NOTHING, NULL, Column, Extra, Extras, Flow
from kafka_etl.engine.rows.mapping import FAILED, is_not_the_operators
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.functions.declare import DROP
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import KEEP, Record, SourceRecord

_GONE: Final[set[type]] = {type(DROP), type(FAILED)}
_MORE_THAN_A_VALUE: Final = (
    list,
    Iterator,
    Record,
    type(None),
    type(DROP),
    type(NULL),
    type(FAILED),
)


class _StillNull:
    """The class of _STILL_NULL: the value of a `Record` that is a decoded `null`."""


_STILL_NULL: Final = _StillNull()

_VALUE: Final = attrgetter("value")
_KEY: Final = attrgetter("key")
_HEADERS: Final = attrgetter("headers")
_TIMESTAMP: Final = attrgetter("timestamp")
_DESTINATION: Final = attrgetter("destination")
_SOURCE: Final = attrgetter("source")
_STAMPED: Final = attrgetter("stamped")


def collect(flow: Flow, operator: BoundOperator, results: list[Any], kinds: Iterable[type]) -> None:
    """Replace the values of a flow with the results of an operator.

    If each result is a value, or is dropped, as most often, no Python code runs per record.

    Args:
        flow: The attempt.
        operator: The operator.
        results: One result per entry.
        kinds: The types of the results.
    """
    if not {Record, list}.isdisjoint(kinds) and type(None) in set(map(type, flow.values)):
        results = list(map(keep_null, flow.values, results))
    flow.nulls = flow.nulls or type(NULL) in kinds
    kinds = _special(kinds) - {type(NULL)}  # NULL: the operator was not called
    gone = kinds & (_GONE | {type(None)} if operator.shape.may_drop else _GONE)
    flow.values = results
    if gone:
        _leave_out(flow, gone)
    if kinds == gone or (kinds - gone <= {Record} and _unpacked(flow, operator)):
        return
    spread = Spread(flow, operator)
    for entry, result in enumerate(flow.values):
        spread.add(entry, flow.origin(entry), result)
    spread.finish()


def keep_null(given: Any, result: Any) -> Any:
    """The result of an operator for a value; a decoded `null` stays a decoded `null`.

    A decoded `null` in a `Record` looks like a tombstone, which would delete the record's key.

    Args:
        given: The value that the operator was given.
        result: The result of the operator, or one element of a list of results.
    """
    if given is not None:
        return result
    if _is_list(result):
        return [keep_null(given, item) for item in result]
    is_given = isinstance(result, Record) and result.source is not None
    if is_given and result.value is None and not result.emptied:
        return result.replace(value=_STILL_NULL)
    return result


def are_plain(results: list[Any]) -> bool:
    """Whether each result is one plain value: no list, no `Record`, nothing dropped."""
    return not _special(set(map(type, results)))


def _special(kinds: Iterable[type]) -> set[type]:
    """The types among these that are not one plain value."""
    return {kind for kind in kinds if issubclass(kind, _MORE_THAN_A_VALUE)}


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _leave_out(flow: Flow, gone: set[type]) -> None:
    """Remove failed and dropped entries: the common case of a filter."""
    if type(FAILED) in gone:
        flow.without_faults()
    for nothing in (DROP, None):
        if type(nothing) in gone:
            chosen = list(map(is_not, flow.values, repeat(nothing)))
            flow.dropped += chosen.count(False)
            flow.keep(chosen)


def _unpacked(flow: Flow, operator: BoundOperator) -> bool:
    """Unpack records into columns, if each result is one value or one record.

    A record that an operator made belongs to the entry for which the operator was called.

    Returns:
        Whether the records are unpacked. False if a record belongs to another entry or to all
        entries, or if an attribute of a record raises: the caller then takes the results one by
        one, and finds the record to blame.
    """
    if flow.shared:
        return False
    try:
        unpacked = _take_apart(flow)
    except BaseException:  # noqa: BLE001 - user code: objects in the records of an operator
        return False
    if unpacked:
        flow.set_by = operator.name
    return unpacked


def _take_apart(flow: Flow) -> bool:
    results, sources = flow.values, flow.sources()
    if set(map(type, results)) == {Record} and all(map(is_, map(_SOURCE, results), sources)):
        extras = _all_extras(flow, results)
        values: list[Any] = list(map(_VALUE, results))
    else:
        entries = [entry for entry, result in enumerate(results) if type(result) is Record]
        records: list[Record] = [results[entry] for entry in entries]
        if not all(map(_is_at_home, records, map(sources.__getitem__, entries))):
            return False
        extras = _some_extras(flow, entries, records)
        values = results.copy()
        for entry, record in zip(entries, records, strict=True):
            values[entry] = record.value
    kinds = set(map(type, values))
    flow.nulls = flow.nulls or type(None) in kinds
    if flow.nulls or type(_STILL_NULL) in kinds:
        values = list(map(_as_entry, values))
    flow.values, flow.extras = values, extras
    return True


def _as_entry(value: Any) -> Any:
    """The value of a `Record` as an entry of a flow: NULL for a tombstone."""
    return NULL if value is None else None if value is _STILL_NULL else value


def _is_at_home(record: Record, source: SourceRecord | None) -> bool:
    return record.source is None or record.source is source


def _all_extras(flow: Flow, records: list[Record]) -> Extras:
    """The extras of records that the operator was given: no attribute of these records is KEEP."""
    stamps: list[Any] = list(map(_TIMESTAMP, records))
    topics = list(map(_DESTINATION, records))
    stamped = list(map(_STAMPED, records))
    timestamps: list[Any] | None
    if all(stamped):
        timestamps = stamps
    elif any(stamped) or stamps != flow.stamps:
        timestamps = list(map(_stamp, records))
    else:
        timestamps = flow.extras.timestamps
    return Extras(
        keys=list(map(_KEY, records)),
        headers=list(map(_HEADERS, records)),
        timestamps=timestamps,
        topics=None if topics.count(None) == len(topics) else topics,
    )


def _some_extras(flow: Flow, entries: list[int], records: list[Record]) -> Extras:
    """The extras where only some results are records: other entries keep their extras."""
    before = flow.extras
    stamps: list[Any] = list(map(_TIMESTAMP, records))
    if not all(map(is_, stamps, repeat(KEEP))):
        stamps = list(map(_stamp, records))
    return Extras(
        keys=_set(flow, before.keys, KEEP, entries, list(map(_KEY, records))),
        headers=_set(flow, before.headers, KEEP, entries, list(map(_HEADERS, records))),
        timestamps=_set(flow, before.timestamps, KEEP, entries, stamps),
        topics=_set(flow, before.topics, None, entries, list(map(_DESTINATION, records))),
    )


def _set(
    flow: Flow, before: Column, nothing: object, entries: list[int], column: list[Any]
) -> Column:
    """The column with the parts that some entries set; `before` itself if they set none.

    Args:
        flow: The attempt.
        before: The column so far.
        nothing: The element of an entry that sets nothing.
        entries: Entries whose results are records.
        column: The part of each of these records.
    """
    if all(map(is_, column, repeat(nothing))):
        return before
    whole = [nothing] * len(flow.values) if before is None else before.copy()
    for entry, one in zip(entries, column, strict=True):
        if one is not nothing:
            whole[entry] = one
    return whole


def _extra(record: Record) -> Extra:
    return (record.key, record.headers, _stamp(record), record.destination)


def _stamp(record: Record) -> Any:
    """The timestamp that an operator has set, or KEEP.

    The timestamp of the source record is not passed on to the output by default.
    """
    stamp: Any = record.timestamp
    if record.stamped or record.source is None or stamp is KEEP:
        return stamp
    return KEEP if stamp == record.source.timestamp()[1] else stamp


def _without_empty(columns: Sequence[list[Any]]) -> Extras:
    return Extras(
        *(
            column if any(one is not nothing for one in column) else None
            for column, nothing in zip(columns, NOTHING, strict=True)
        )
    )


class Spread:
    """Collects results one by one, where they are more than one plain value per entry."""

    def __init__(self, flow: Flow, operator: BoundOperator) -> None:
        self._flow = flow
        self._operator = operator
        self._values: list[Any] = []
        self._origins: list[int] = []
        self._extras: list[Extra] = []
        self._origin_of: dict[int, int] = {}
        if flow.keys is not None:
            self._origin_of = dict(zip(map(id, flow.source), range(len(flow.source)), strict=True))

    def add(self, entry: int, origin: int, result: Any) -> None:
        """Take in the result for one entry: an output, a list of outputs, or none.

        Args:
            entry: The entry.
            origin: The entry's origin.
            result: The result.
        """
        try:
            if result is None and not self._operator.shape.may_drop:
                self._refuse(origin, "returned None; return DROP, or annotate `-> dict | None`")
            elif result is None or (_is_list(result) and not result):
                self._flow.dropped += 1
            else:
                for item in result if _is_list(result) else [result]:
                    self._add_output(entry, origin, item)
        except BaseException as error:  # noqa: BLE001 - `_blame` raises errors of no record
            self._blame(origin, error)

    def add_item(self, entry: int | None, origin: int, given: Any, item: Any) -> None:
        """Take in one output of a batch operator.

        Args:
            entry: The entry behind the output; None: all entries.
            origin: The entry's origin, or SHARED.
            given: The entry's value before the call.
            item: The output.
        """
        try:
            self._add_output(entry, origin, keep_null(given, item))
        except BaseException as error:  # noqa: BLE001 - `_blame` raises errors of no record
            self._blame(origin, error)

    def _blame(self, origin: int, error: BaseException) -> None:
        """Blame the origin for a result that raises when the engine reads the result."""
        if is_not_the_operators(error) or issubclass(type(error), GroupFault | NamedFaults):
            raise error
        fault = Fault(error, Condition.OPERATOR_ERROR, self._operator.name)
        self._flow.blame(origin, fault)

    def _add_output(self, entry: int | None, origin: int, item: Any) -> None:
        """Add one output; `entry` is the entry behind the output, None: all entries."""
        flow = self._flow
        if item is DROP:
            flow.dropped += 1
            return
        if item is None:
            self._refuse(origin, "returned a list with None in it; put DROP there, or leave it out")
            return
        extra = NOTHING if entry is None else flow.extra_of(entry)
        if issubclass(type(item), Record):
            flow.set_by = self._operator.name
            record = item if entry is None else item.onto(flow.base(entry))
            extra = self._in_full(record) if origin == SHARED else _extra(record)
            item = _as_entry(item.value)
        self._values.append(item)
        self._origins.append(origin)
        self._extras.append(extra)

    def finish(self) -> None:
        """Replace the columns of the flow with the collected outputs."""
        flow = self._flow
        flow.values = self._values
        flow.shared = SHARED in self._origins
        flow.nulls = any(value is NULL for value in self._values)
        columns = list(map(list, zip(*self._extras, strict=True)))
        flow.extras = _without_empty(columns) if columns else Extras()
        one_to_one = self._origins == list(range(len(flow.source)))
        flow.origins = None if one_to_one else self._origins
        if flow.faults:
            flow.without_faults()

    def _in_full(self, record: Record) -> Extra:
        """The extras of an output of all records: KEEP would have no source record to refer to."""
        key, headers, timestamp, topic = _extra(record)
        flow, source = self._flow, record.source
        origin = self._origin_of.get(id(source), SHARED)
        if source is not None and not flow.converts_keys and flow.is_key_of(origin, key):
            key = source.key()  # unchanged: the bytes stay, and the partition with them
        return (key, headers, timestamp, topic)

    def _refuse(self, origin: int, what: str) -> None:
        fault = Fault(TypeError(what), Condition.OPERATOR_ERROR, self._operator.name)
        self._flow.blame(origin, fault)
