"""The stages of operators: each stage calls one operator on the columns of a `Flow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeGuard

from kafka_etl.engine.attempt.expressions import explain_of
from kafka_etl.engine.attempt.results import Spread, are_plain, collect
from kafka_etl.engine.columns import tables
from kafka_etl.engine.pools.lanes import Lanes, lanes
from kafka_etl.engine.pools.pools import Pool, Pools
from kafka_etl.engine.rows.blame import group_fault, named_faults
from kafka_etl.engine.rows.flow import NULL, Flow
from kafka_etl.engine.rows.mapping import (
    Apply,
    Mapped,
    PoolFailed,
    exhausted,
    is_not_the_operators,
    one_by_one,
)
from kafka_etl.errors import RecordErrors
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.functions.declare import DROP
from kafka_etl.functions.signature import TABLES, Takes
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import Record
from kafka_etl.value_classes import typed

_MadeFrom = Sequence[int | None]
"""The entry behind each output; None for an output that belongs to all entries."""


@dataclass(frozen=True, slots=True)
class Operate:
    """The stage of one operator, which is called record by record, with lists, or with tables.

    Attributes:
        operator: The operator.
        convert: Converts a value to the class that the operator takes; None: no conversion.
        pool: Pool that calls the operator for several records at once; None: records are processed
            one after the other.
    """

    operator: BoundOperator
    convert: Callable[[Any], Any] | None = None
    pool: Pool | None = None

    def apply(self, flow: Flow) -> None:
        """Replace the entries of a flow with the outputs of the operator.

        Raises:
            GroupFault: A call on several records failed, and any record may be to blame.
            NamedFaults: Some records are bad; the others must be attempted again without them.
            PoolFailed: The processes of the operator cannot be used.
        """
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
            # A generator runs only when it is read; an error raised then is the record's error.
            results = self._each(flow, one_by_one(exhausted), results, nulls=True)
            kinds = set(map(type, results))
        collect(flow, self.operator, results, kinds)

    def _calls(self, flow: Flow) -> Apply:
        call, pool, order = self.operator.call, self.pool, self.operator.order
        if pool is None:
            return one_by_one(call, explain_of(call))
        sources = flow.sources()
        return lambda entries, values: _mapped(
            pool, values, lanes([sources[e] for e in entries], order)
        )

    def _each(self, flow: Flow, apply: Apply, column: list[Any], *, nulls: bool) -> list[Any]:
        return flow.each(
            apply,
            column,
            nulls=nulls,
            condition=Condition.OPERATOR_ERROR,
            operator=self.operator.name,
        )


def operate_all(operators: Sequence[BoundOperator], pools: Pools) -> tuple[Operate, ...]:
    """The stages of these operators.

    The first operator needs no conversion: `decode_for` has chosen a codec for its values.
    """
    return tuple(
        Operate(
            _called_once(pools.awaited(operator), pools.of(operator)),
            None if number == 0 else _conversion(operator.shape.cls),
            pools.of(operator),
        )
        for number, operator in enumerate(operators)
    )


def _called_once(operator: BoundOperator, pool: Pool | None) -> BoundOperator:
    """The operator; the `call` of a batch operator with a pool is replaced by a call on the pool.

    The new `call` raises the operator's own error, and `PoolFailed` for an error of the pool.
    """
    if pool is None or not operator.shape.batch:
        return operator

    def call(argument: Any) -> Any:
        results, failed = _mapped(pool, [argument], [[0]])
        if failed:
            raise failed[0][1]
        return results[0]

    return replace(operator, call=call)


def _mapped(pool: Pool, column: Sequence[Any], lanes: Lanes) -> Mapped:
    """Call the operator for a column of values through its pool.

    Raises:
        PoolFailed: The pool failed by itself: no record is to blame.
    """
    try:
        return pool.map(column, lanes)
    except BaseException as error:  # errors of the operator are among the results
        raise PoolFailed(error) from error


def _conversion(cls: type | None) -> Callable[[Any], Any] | None:
    """A function that makes a value an object of the class, unless the value is one already."""
    if cls is None:
        return None
    from_plain = typed(cls).from_plain
    return lambda value: value if isinstance(value, cls) else from_plain(value)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


class _BatchCall:
    """The calls of a batch operator for the entries of one flow.

    The operator is called once. If it does not take null values, it is called once for each stretch
    of entries between null values, which are passed on unchanged.
    """

    def __init__(self, operator: BoundOperator, flow: Flow) -> None:
        self._operator = operator
        self._flow = flow
        shape = operator.shape
        self._mixes = shape.mixes
        self._arguments = flow.as_records() if shape.takes is Takes.RECORD else flow.as_values()

    def run(self) -> None:
        """Call the operator, and replace the entries of the flow with its outputs."""
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
        """Stretches of entries with and without values, as (has values, entries), in order.

        A tombstone thus keeps its place among the values of its key. An operator that mixes rows is
        called once, and the null values come after its outputs.
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
            if _is_list(outputs):
                outputs = list(outputs)  # the operator may reuse its list in the next call
        except RecordErrors as named:
            raise named_faults(self._flow, self._operator, entries, named) from named
        except BaseException as error:
            if is_not_the_operators(error):
                raise
            raise group_fault(self._flow, self._operator, error) from error
        if outputs is DROP or (outputs is None and self._operator.shape.may_drop):
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
                spread.add_item(entry, origin, given, item)
        spread.finish()

    def _made_from(self, entries: list[int], outputs: list[Any]) -> _MadeFrom:
        """The entry behind each output; an entry without an output is counted as dropped."""
        made_from = self._entries_behind(entries, outputs)
        if None not in made_from:
            self._flow.dropped += len(entries) - len(set(made_from))
        return made_from

    def _entries_behind(self, entries: list[int], outputs: list[Any]) -> _MadeFrom:
        """The entry behind each output; None for an output that belongs to all entries.

        The origin of a `Record` is its `source`. The origin of any other output is known by its
        position, if the operator returned as many outputs as entries.
        """
        if self._mixes:
            return [None] * len(outputs)
        in_place = entries if len(outputs) == len(entries) else [None] * len(outputs)
        sources = [item.source if issubclass(type(item), Record) else None for item in outputs]
        if all(source is None for source in sources):
            return in_place
        given = self._flow.sources()
        by_source = {id(given[entry]): entry for entry in entries}
        return [
            entry if source is None else by_source.get(id(source), entry)
            for source, entry in zip(sources, in_place, strict=True)
        ]
