"""The stages of a chain: decode, operators, encode. Each turns over the columns of a `Flow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, is_
from typing import Any, Final, TypeGuard

from kafka_etl.bind import BoundOperator
from kafka_etl.codecs import BYTES, TEXT, of_class
from kafka_etl.contracts import Codec
from kafka_etl.declare import DROP
from kafka_etl.engine.crew import Crew, Crews, lanes
from kafka_etl.engine.flow import NULL, Fault, Flow, GroupFault, NamedFaults
from kafka_etl.engine.mapping import FAILED, Apply, finished, one_by_one
from kafka_etl.errors import Permanent, RecordErrors
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import KEEP, UNCHANGED, Changes, Record, RecordView
from kafka_etl.signature import Takes
from kafka_etl.typed import typed

_MORE_THAN_A_VALUE: Final = (
    list,
    Iterator,
    Record,
    type(None),
    type(DROP),
    type(NULL),
    type(FAILED),
)
_MadeFrom = Sequence[int | None]
"""The entry behind each output; None where it belongs to all of them."""

_VALUE: Final = attrgetter("value")
_SOURCE: Final = attrgetter("source")
_CHANGES: Final = attrgetter("changes")

_GONE: Final[set[type]] = {type(DROP), type(FAILED)}
_GONE_OR_NONE: Final[set[type]] = _GONE | {type(None)}


@dataclass(frozen=True, slots=True)
class Decode:
    """Source bytes to what the first operator takes.

    Attributes:
        value: None: the bytes as they are.
        key: None: no operator looks at decoded keys.
    """

    value: Codec | None
    key: Codec | None = None

    def apply(self, flow: Flow) -> None:
        read = type(flow.source[0])
        raw = list(map(read.value, flow.source))
        flow.nulls = not all(raw) and None in raw  # b"" is no null, but rare enough to look again
        flow.values = [NULL if v is None else v for v in raw] if flow.nulls else raw
        if self.value is not None:
            flow.values = _decoded(flow, self.value, self.value.decode, flow.values, nulls=False)
        if self.key is not None:
            keys = list(map(read.key, flow.source))
            flow.keys = _decoded(flow, self.key, _sparing_none(self.key), keys, nulls=True)
            flow.changes = [(key, KEEP, KEEP, KEEP) for key in flow.keys]
        if flow.faults:
            flow.without_faults()


def decode_for(operators: Sequence[BoundOperator], value: Codec, key: Codec) -> Decode:
    """Decode what the operators ask for: bytes that nothing decodes stay as they are."""
    if not operators:
        return Decode(None)
    first = operators[0].shape
    value = {Takes.BYTES: BYTES, Takes.TEXT: TEXT}.get(first.takes, value)
    if first.cls is not None:
        value = of_class(value, first.cls)
    wants_keys = key is not BYTES and any(o.shape.takes is Takes.RECORD for o in operators)
    return Decode(None if value is BYTES else value, key if wants_keys else None)


def _decoded(
    flow: Flow, codec: Codec, decode: Callable[[Any], Any], column: list[Any], *, nulls: bool
) -> list[Any]:
    return flow.each(
        one_by_one(decode),
        column,
        nulls=nulls,
        condition=Condition.DECODE_ERROR,
        operator=codec.name,
    )


def _sparing_none(codec: Codec) -> Callable[[Any], Any]:
    return lambda key: None if key is None else codec.decode(key)


@dataclass(frozen=True, slots=True)
class Operate:
    """One operator over all entries: record by record, or as lists.

    Attributes:
        convert: Makes values what the operator takes; None: they are that already.
        crew: Calls it for several records at once; None: one after the other.
    """

    operator: BoundOperator
    convert: Callable[[Any], Any] | None = None
    crew: Crew | None = None

    def apply(self, flow: Flow) -> None:
        if self.convert is not None:
            flow.values = self._each(flow, one_by_one(self.convert), flow.values, nulls=False)
            if flow.faults:
                flow.without_faults()
        if not flow.values:
            return
        if self.operator.shape.batch:
            _BatchCall(self.operator, flow).run()
        else:
            self._record_by_record(flow)

    def _record_by_record(self, flow: Flow) -> None:
        shape = self.operator.shape
        arguments = flow.as_records() if shape.takes is Takes.RECORD else flow.as_values()
        results = self._each(flow, self._calls(flow), arguments, nulls=shape.nullable)
        kinds = _special(results)
        if any(issubclass(kind, Iterator) for kind in kinds):
            # A generator runs its body only now; its errors are the record's, too.
            results = self._each(flow, one_by_one(finished), results, nulls=True)
        if not kinds:
            flow.values = results
        elif kinds <= _GONE or (shape.may_drop and kinds <= _GONE_OR_NONE):
            _leave_out(flow, results)
        elif kinds == {RecordView} and _are_own(flow, results):
            _unpack(flow, results)
        else:
            spread = _Spread(flow, self.operator)
            for entry, result in enumerate(results):
                if result is not FAILED:
                    spread.add(entry, flow.origin(entry), result)
            spread.finish()

    def _calls(self, flow: Flow) -> Apply:
        call, crew, order = self.operator.call, self.crew, self.operator.order
        if crew is None:
            return one_by_one(call)
        sources = flow.sources()
        return lambda entries, values: crew.map(values, lanes([sources[e] for e in entries], order))

    def _each(self, flow: Flow, apply: Apply, column: list[Any], *, nulls: bool) -> list[Any]:
        return flow.each(
            apply,
            column,
            nulls=nulls,
            condition=Condition.OPERATOR_ERROR,
            operator=self.operator.name,
        )


def operate_all(operators: Sequence[BoundOperator], crews: Crews) -> tuple[Operate, ...]:
    """The stages of these operators; the first is given what `decode_for` makes."""
    return tuple(
        Operate(
            crews.awaited(operator),
            None if number == 0 else _conversion(operator.shape.cls),
            crews.of(operator),
        )
        for number, operator in enumerate(operators)
    )


def _conversion(cls: type | None) -> Callable[[Any], Any] | None:
    """Between operators: what is no object of the class yet is made one."""
    if cls is None:
        return None
    from_plain = typed(cls).from_plain
    return lambda value: value if isinstance(value, cls) else from_plain(value)


def _special(results: list[Any]) -> set[type]:
    """Which results are more than one plain value; looks at types, not at each record."""
    return {kind for kind in set(map(type, results)) if issubclass(kind, _MORE_THAN_A_VALUE)}


def _as_error(error: Any) -> BaseException:
    return error if isinstance(error, BaseException) else Permanent(str(error))


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _leave_out(flow: Flow, results: list[Any]) -> None:
    """The common case of a filter: every entry has one value or none."""
    flow.values = results
    chosen = [
        result is not DROP and result is not FAILED and result is not None for result in results
    ]
    failed = sum(result is FAILED for result in results) if flow.faults else 0
    flow.dropped += chosen.count(False) - failed
    flow.keep(chosen)
    if flow.faults:
        flow.without_faults()


def _are_own(flow: Flow, results: list[Any]) -> bool:
    """Whether each entry gave one record, made from the one it was given."""
    if set(map(type, results)) != {RecordView}:
        return False
    return all(map(is_, map(_SOURCE, results), flow.sources())) and SHARED not in (
        flow.origins or ()
    )


def _unpack(flow: Flow, records: list[Record]) -> None:
    """Take records apart into columns, without looking at any one of them."""
    flow.values = list(map(_VALUE, records))
    flow.nulls = type(None) in set(map(type, flow.values))
    if flow.nulls:
        flow.values = [NULL if value is None else value for value in flow.values]
    changes: list[Changes | None] = list(map(_CHANGES, records))
    flow.changes = changes if any(changes) else None


class _Spread:
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


class _BatchCall:
    """One call of a batch operator per run of entries with a value; null values pass by."""

    def __init__(self, operator: BoundOperator, flow: Flow) -> None:
        self._operator = operator
        self._flow = flow
        shape = operator.shape
        self._mixes = shape.mixes
        self._arguments = flow.as_records() if shape.takes is Takes.RECORD else flow.as_values()

    def run(self) -> None:
        flow = self._flow
        everything = list(range(len(flow)))
        if not flow.nulls or self._operator.shape.nullable:
            outputs = self._call(everything)
            if not self._mixes and len(outputs) == len(flow) and not _special(outputs):
                flow.values = outputs
                return
            segments = [(self._made_from(everything, outputs), outputs)]
        else:
            segments = [
                self._segment(entries) if present else (entries, [NULL] * len(entries))
                for present, entries in self._runs(everything)
            ]
        self._collect(segments)

    def _segment(self, entries: list[int]) -> tuple[_MadeFrom, list[Any]]:
        outputs = self._call(entries)
        return self._made_from(entries, outputs), outputs

    def _runs(self, everything: list[int]) -> Iterator[tuple[bool, list[int]]]:
        """Stretches with and without values, in order.

        So a tombstone keeps its place among the values of its key. An operator that mixes rows is
        called once, and the nulls follow.
        """
        has_value = [value is not NULL for value in self._flow.values]
        if self._mixes:
            yield True, [entry for entry in everything if has_value[entry]]
            yield False, [entry for entry in everything if not has_value[entry]]
            return
        for present, entries in groupby(everything, key=has_value.__getitem__):
            yield present, list(entries)

    def _call(self, entries: list[int]) -> list[Any]:
        if not entries:
            return []
        try:
            outputs = finished(self._operator.call([self._arguments[entry] for entry in entries]))
        except RecordErrors as named:
            raise self._named(named, entries) from named
        except BaseException as error:
            raise self._failed(error) from error
        if outputs is DROP or (outputs is None and self._operator.shape.may_drop):
            self._flow.dropped += len(entries)
            return []
        if not _is_list(outputs):
            raise self._failed(
                TypeError(f"a batch operator returns a list; got {type(outputs).__name__}")
            )
        return outputs

    def _collect(self, segments: list[tuple[_MadeFrom, list[Any]]]) -> None:
        flow = self._flow
        flow.mixed = flow.mixed or self._mixes
        spread = _Spread(flow, self._operator)
        for made_from, outputs in segments:
            for entry, item in zip(made_from, outputs, strict=True):
                origin = SHARED if entry is None else flow.origin(entry)
                spread.add_output(entry, origin, item)
        spread.finish()

    def _made_from(self, entries: list[int], outputs: list[Any]) -> _MadeFrom:
        """The entry behind each output; None where it belongs to all of them.

        A `Record` knows where it comes from. Of anything else its place tells, where there are as
        many outputs as entries.
        """
        if self._mixes:
            return [None] * len(outputs)
        in_place = entries if len(outputs) == len(entries) else [None] * len(outputs)
        sources = [item.source if isinstance(item, Record) else None for item in outputs]
        if all(source is None for source in sources):
            return in_place
        given = self._flow.sources()
        by_source = {id(given[entry]): entry for entry in entries}
        return [
            entry if source is None else by_source.get(id(source), entry)
            for source, entry in zip(sources, in_place, strict=True)
        ]

    def _named(self, named: RecordErrors, entries: list[int]) -> Exception:
        name = self._operator.name
        errors: dict[int, Any] = getattr(named, "errors", {})  # a subclass may have none
        strangers = [row for row in errors if row not in range(len(entries))]
        if strangers or not errors:
            return self._failed(
                ValueError(f"RecordErrors names rows {strangers} of {len(entries)} records")
            )
        faults = {
            self._flow.origin(entries[row]): Fault(_as_error(error), Condition.OPERATOR_ERROR, name)
            for row, error in errors.items()
        }
        return self._failed(named) if SHARED in faults else NamedFaults(faults)

    def _failed(self, error: BaseException) -> GroupFault:
        fault = Fault(error, Condition.OPERATOR_ERROR, self._operator.name)
        return GroupFault(fault, splittable=not (self._mixes or self._flow.mixed))
