"""The stages of a chain: decode, operators, encode. Each turns over the columns of a `Flow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeGuard

from kafka_etl.codecs import BYTES, TEXT, of_class
from kafka_etl.contracts import Codec
from kafka_etl.engine.attempt.results import Spread, are_plain, collect, keep_null
from kafka_etl.engine.columns import tables
from kafka_etl.engine.pools.pools import Pool, Pools, lanes
from kafka_etl.engine.rows.faults import group_fault, named_faults
from kafka_etl.engine.rows.flow import NULL, Flow
from kafka_etl.engine.rows.mapping import Apply, exhausted, one_by_one
from kafka_etl.errors import RecordErrors
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.functions.declare import DROP
from kafka_etl.functions.signature import TABLES, Takes
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import Headers, Record
from kafka_etl.value_classes import typed

_MadeFrom = Sequence[int | None]
"""The entry behind each output; None where it belongs to all of them."""


@dataclass(frozen=True, slots=True)
class Decode:
    """Source bytes to what the first operator takes.

    Attributes:
        value: None: the bytes as they are.
        key: None: no operator looks at decoded keys.
        table: Whether the first operator takes a table.
    """

    value: Codec | None
    key: Codec | None = None
    table: bool = False

    def apply(self, flow: Flow) -> None:
        read = type(flow.source[0])
        raw = list(map(read.value, flow.source))
        flow.nulls = not all(raw) and None in raw  # b"" is no null, but rare enough to look again
        flow.values = [NULL if v is None else v for v in raw] if flow.nulls else raw
        if self.value is not None and self.table:
            tables.decode_table(flow, self.value)
        elif self.value is not None:
            flow.values = _decoded(flow, self.value, flow.values, nulls=False)
        if self.key is not None:
            keys = list(map(read.key, flow.source))
            flow.keys = _decoded(flow, self.key, keys, nulls=True)
        if flow.faults and flow.sheet is None:
            flow.without_faults()


def decode_for(
    operators: Sequence[BoundOperator], value: Codec, key: Codec, *, converts: bool = False
) -> Decode:
    """Decode what the operators ask for: bytes that nothing decodes stay as they are.

    Without operators that is all of them, unless the sink has another codec than the source.
    """
    if not operators:
        return Decode(value if converts and value is not BYTES else None)
    first = operators[0].shape
    if first.takes in TABLES:
        return Decode(value, table=True)
    value = {Takes.BYTES: BYTES, Takes.TEXT: TEXT}.get(first.takes, value)
    if first.cls is not None:
        value = of_class(value, first.cls)
    elif first.container is not None and value.of_container is not None:
        value = value.of_container(first.container)
    wants_keys = key is not BYTES and any(o.shape.takes is Takes.RECORD for o in operators)
    return Decode(None if value is BYTES else value, key if wants_keys else None)


def _decoded(flow: Flow, codec: Codec, column: list[Any], *, nulls: bool) -> list[Any]:
    decode: Callable[[Any], Any] = codec.decode
    if codec.decode_with is not None:
        column = list(zip(column, _headers(flow), strict=True))
        decode = _spread(codec.decode_with)
    elif nulls:
        decode = _sparing_none(codec.decode)
    return flow.each(
        one_by_one(decode, None if codec.decode_with else codec.explain_bytes),
        column,
        nulls=nulls,
        condition=Condition.DECODE_ERROR,
        operator=codec.name,
    )


def _headers(flow: Flow) -> list[Headers]:
    return [headers or [] for headers in map(type(flow.source[0]).headers, flow.source)]


def _spread(decode_with: Callable[[bytes, Headers], Any]) -> Callable[[Any], Any]:
    """For pairs of bytes and headers; null is no bytes."""
    return lambda pair: None if pair[0] is None else decode_with(*pair)


def _sparing_none(decode: Callable[[bytes], Any]) -> Callable[[Any], Any]:
    return lambda key: None if key is None else decode(key)


@dataclass(frozen=True, slots=True)
class Operate:
    """One operator over all entries: record by record, or as lists.

    Attributes:
        convert: Makes values what the operator takes; None: they are that already.
        pool: Calls it for several records at once; None: one after the other.
    """

    operator: BoundOperator
    convert: Callable[[Any], Any] | None = None
    pool: Pool | None = None

    def apply(self, flow: Flow) -> None:
        if self.operator.shape.takes in TABLES:
            tables.enter(flow, self.operator)
            tables.call(flow, self.operator)
            return
        tables.leave(flow)
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
        kinds = set(map(type, results))
        if any(issubclass(kind, Iterator) for kind in kinds):
            # A generator runs its body only now; its errors are the record's, too.
            results = self._each(flow, one_by_one(exhausted), results, nulls=True)
            kinds = set(map(type, results))
        collect(flow, self.operator, results, kinds)

    def _calls(self, flow: Flow) -> Apply:
        call, pool, order = self.operator.call, self.pool, self.operator.order
        if pool is None:
            return one_by_one(call)
        sources = flow.sources()
        return lambda entries, values: pool.map(values, lanes([sources[e] for e in entries], order))

    def _each(self, flow: Flow, apply: Apply, column: list[Any], *, nulls: bool) -> list[Any]:
        return flow.each(
            apply,
            column,
            nulls=nulls,
            condition=Condition.OPERATOR_ERROR,
            operator=self.operator.name,
        )


def operate_all(operators: Sequence[BoundOperator], pools: Pools) -> tuple[Operate, ...]:
    """The stages of these operators; the first is given what `decode_for` makes."""
    return tuple(
        Operate(
            pools.awaited(operator),
            None if number == 0 else _conversion(operator.shape.cls),
            pools.of(operator),
        )
        for number, operator in enumerate(operators)
    )


def _conversion(cls: type | None) -> Callable[[Any], Any] | None:
    """Between operators: what is no object of the class yet is made one."""
    if cls is None:
        return None
    from_plain = typed(cls).from_plain
    return lambda value: value if isinstance(value, cls) else from_plain(value)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


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
            if not self._mixes and len(outputs) == len(flow) and are_plain(outputs):
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
            outputs = exhausted(self._operator.call([self._arguments[entry] for entry in entries]))
        except RecordErrors as named:
            raise named_faults(self._flow, self._operator, entries, named) from named
        except BaseException as error:
            raise group_fault(self._flow, self._operator, error) from error
        if outputs is DROP or (outputs is None and self._operator.shape.may_drop):
            self._flow.dropped += len(entries)
            return []
        if not _is_list(outputs):
            wrong = TypeError(f"a batch operator returns a list; got {type(outputs).__name__}")
            raise group_fault(self._flow, self._operator, wrong)
        return outputs

    def _collect(self, segments: list[tuple[_MadeFrom, list[Any]]]) -> None:
        flow = self._flow
        flow.mixed = flow.mixed or self._mixes
        spread = Spread(flow, self._operator)
        for made_from, outputs in segments:
            for entry, item in zip(made_from, outputs, strict=True):
                origin = SHARED if entry is None else flow.origin(entry)
                given = NULL if entry is None else flow.values[entry]
                spread.add_output(entry, origin, keep_null(given, item))
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
