"""The last stage of a pipeline whose sink is a table: the entries of a flow become rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import compress
from operator import itemgetter
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from kafka_etl.contracts import Column
from kafka_etl.engine.attempt.output_fields import checked_places, checked_timestamps
from kafka_etl.engine.attempt.routing import Routing
from kafka_etl.engine.columns.meta_columns import extras
from kafka_etl.engine.columns.reading import TIMESTAMP, TO
from kafka_etl.engine.columns.tables import leave
from kafka_etl.engine.rows.faults import Fault
from kafka_etl.engine.rows.flow import NULL, Flow
from kafka_etl.engine.rows.mapping import FAILED, is_nobodys, map_each
from kafka_etl.engine.shape.arrow import table_of
from kafka_etl.engine.shape.fit import fit
from kafka_etl.expression import Expression
from kafka_etl.invocation import Condition, Outputs
from kafka_etl.record import KEEP, Record
from kafka_etl.table_settings import TableSettings

_MODES: Final = {
    "insert": "`mode: insert` deletes nothing",
    "key": "its key is part of the value, which is gone; write `key: {id: key.id}`",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape stage, in the place of `Encode`.

    Attributes:
        settings: Settings of the sink.
        columns: The columns that every row sets, in the order of the rows' fields.
        operator: Name of the last operator, for faults of what no other operator has set.
        routing: The expression for where a row goes; None: there is none.
    """

    settings: TableSettings
    columns: tuple[Column, ...]
    operator: str = ""
    routing: Routing | None = None

    def apply(self, flow: Flow) -> Outputs:
        """Make a row of each entry; records whose values do not fit become faults.

        Returns:
            The rows of records without a fault; origins are positions in the attempt. Deletions
            have the value None, and the key of the row.

        Raises:
            GroupFault: An output that belongs to all records does not fit.
        """
        if flow.sheet is not None:
            made = self._as_table(flow)
            if made is not None:
                return made
            leave(flow)
        sound = len(flow.faults)
        if self.routing is not None:
            self.routing.apply(flow)
        sent = self._sent(flow)
        present = flow.present() if flow.nulls else range(len(flow))
        values = flow.values if not flow.nulls else [flow.values[e] for e in present]
        records: list[Record] | None = None
        if any(not e.value_only for e in self._expressions().values()):
            records = flow.as_records()
        columns = self._columns(flow, present, values, records)
        rows: list[Any] = list(zip(*columns, strict=True)) if columns else []
        keys = self._keys(flow, present, columns, records)
        if flow.nulls:
            rows = self._with_deletions(flow, present, rows)
        outputs = Outputs(
            values=rows,
            keys=keys,
            topics=sent,
            timestamps=self._timestamps(flow),
            origins=flow.origins,
            size=sum(len(value or b"") for value in flow.read("value")),
        )
        if len(flow.faults) > sound:
            return outputs.take(list(compress(range(len(flow)), flow.sound())))
        return outputs

    def _sent(self, flow: Flow) -> list[str | None] | None:
        """Where each entry goes; None: all go to the sink's own place."""
        if flow.extras.topics is None:
            return None
        sent, bad = checked_places(flow.extras.topics, self.settings.destinations)
        for entry, error in bad.items():
            fault = Fault(error, Condition.OPERATOR_ERROR, flow.set_by or self.operator or "sink")
            flow.fail(entry, fault)
        return sent

    def _timestamps(self, flow: Flow) -> list[int] | None:
        """The timestamps that operators have set, 0 for none; None: there are none at all."""
        stamps, bad = _checked_timestamps(flow.extras.timestamps)
        for entry, error in bad.items():
            fault = Fault(error, Condition.ENCODE_ERROR, flow.set_by or self.operator)
            flow.fail(entry, fault)
        return stamps

    def _expressions(self) -> Mapping[str, Expression]:
        """Column -> the expression for its value."""
        keys = self.settings.key if isinstance(self.settings.key, Mapping) else {}
        return {**(self.settings.columns or {}), **keys}

    def _columns(
        self,
        flow: Flow,
        present: Sequence[int],
        values: list[Any],
        records: list[Record] | None,
    ) -> list[list[Any]]:
        """The columns of all entries that have a value, fitted."""
        expressions = self._expressions()
        by_field = [c for c in self.columns if c.name not in expressions]
        objects = self._objects(flow, present, values) if by_field else []
        if by_field and self.settings.columns is None:
            objects = self._without_extras(flow, present, objects)
        made: list[list[Any]] = []
        for column in self.columns:
            expression = expressions.get(column.name)
            if expression is None:
                found = _fields_of(objects, column.name)
            else:
                found = self._computed(flow, present, column.name, expression, values, records)
            fitted, bad = fit(column, found)
            self._blame(flow, present, {at: e for at, e in bad.items() if found[at] is not FAILED})
            made.append(fitted)
        return made

    def _objects(
        self, flow: Flow, present: Sequence[int], values: list[Any]
    ) -> list[Mapping[str, Any]]:
        if set(map(type, values)) <= {dict}:
            return values
        objects, failed = map_each(_as_object, len(values), values)
        self._blame(flow, present, dict(failed))
        return [{} if one is FAILED else one for one in objects]

    def _without_extras(
        self, flow: Flow, present: Sequence[int], objects: list[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Objects whose fields all have a column, as `extra` says of the others."""
        names = {column.name for column in self.columns}
        extra = self.settings.extra
        if extra == "ignore" or (extra == "error" and set[str]().union(*objects) <= names):
            return objects
        if extra == "error":
            bad = {
                at: ValueError(f"field {_listed(one.keys() - names)} has no column")
                for at, one in enumerate(objects)
                if not one.keys() <= names
            }
            self._blame(flow, present, bad)
            return objects
        own = {
            at: ValueError(f"field {extra} has the name of the column of other fields")
            for at, one in enumerate(objects)
            if extra in one
        }
        self._blame(flow, present, own)
        return [
            {
                **{name: value for name, value in one.items() if name in names},
                extra: {name: value for name, value in one.items() if name not in names} or None,
            }
            for one in objects
        ]

    def _computed(  # noqa: PLR0913, PLR0917 - what an expression may look at
        self,
        flow: Flow,
        present: Sequence[int],
        name: str,
        expression: Expression,
        values: list[Any],
        records: list[Record] | None,
    ) -> list[Any]:
        if expression.value_only:
            found, failed = map_each(expression.on_value(), len(values), values)
        else:
            given = records or []
            if flow.nulls:
                given = [given[entry] for entry in present]
            found, failed = map_each(expression.on_record(), len(given), given)
        self._blame(flow, present, {at: _computing(name, error) for at, error in failed})
        return found

    def _keys(
        self,
        flow: Flow,
        present: Sequence[int],
        columns: list[list[Any]],
        records: list[Record] | None,
    ) -> list[Any]:
        """The key of each row: the record's for `insert`, else the values of the key columns."""
        if self.settings.mode == "insert":
            return flow.spread(flow.read("key"), None)
        places = {column.name: at for at, column in enumerate(self.columns)}
        own = [columns[places[name]] for name in self.settings.key_columns]
        keys = list(zip(*own, strict=True))
        if not flow.nulls:
            return keys
        every: list[Any] = [None] * len(flow)
        for entry, key in zip(present, keys, strict=True):
            every[entry] = key
        if self.settings.deletes:
            gone = [entry for entry, value in enumerate(flow.values) if value is NULL]
            by_name = {column.name: column for column in self.columns}
            parts: list[list[Any]] = []
            given = records if records is not None else flow.as_records()
            for name, expression in self._key_expressions().items():
                asked = [given[entry] for entry in gone]
                found, failed = map_each(expression.on_record(), len(asked), asked)
                self._blame(flow, gone, dict(failed))
                fitted, bad = fit(by_name[name], found)
                self._blame(flow, gone, {at: e for at, e in bad.items() if found[at] is not FAILED})
                parts.append(fitted)
            for entry, key in zip(gone, zip(*parts, strict=True), strict=True):
                every[entry] = key
        return every

    def _key_expressions(self) -> Mapping[str, Expression]:
        return self.settings.key if isinstance(self.settings.key, Mapping) else {}

    def _with_deletions(self, flow: Flow, present: Sequence[int], rows: list[Any]) -> list[Any]:
        """The rows of all entries: None for a tombstone, which deletes or is refused."""
        every: list[Any] = [None] * len(flow)
        for entry, row in zip(present, rows, strict=True):
            every[entry] = row
        if not self.settings.deletes:
            why = _MODES["insert" if self.settings.mode == "insert" else "key"]
            for entry, value in enumerate(flow.values):
                if value is NULL:
                    self._fail(flow, entry, ValueError(f"a tombstone deletes no row here: {why}"))
        return every

    def _as_table(self, flow: Flow) -> Outputs | None:
        """The flow's table as it is; None: a column does not fit, or has an expression."""
        sheet = flow.sheet
        if sheet is None or self._expressions() or sheet.aside or self.settings.mode != "insert":
            return None
        if self.routing is not None or TO in sheet.table.column_names:
            return None  # an operator may have set where a row goes
        found = table_of(sheet.table, self.columns, self.settings.extra)
        if found is None:
            return None
        table, entries = found
        whole = isinstance(entries, range) and len(entries) == len(flow.source)
        if flow.origins is not None or flow.extras.topics is not None or flow.faults or not whole:
            return None
        stamps: list[int] | None = None
        if flow.extras.timestamps is not None or TIMESTAMP in sheet.table.column_names:
            stamps, bad = _checked_timestamps(extras(flow, sheet, entries).timestamps)
            if bad:
                return None
        return Outputs(
            keys=flow.spread(flow.read("key"), None),
            table=table,
            timestamps=stamps,
            size=table.nbytes,
        )

    def _blame(self, flow: Flow, present: Sequence[int], bad: Mapping[int, BaseException]) -> None:
        for at, error in bad.items():
            self._fail(flow, present[at], error)

    def _fail(self, flow: Flow, entry: int, error: BaseException) -> None:
        if is_nobodys(error):
            raise error
        flow.fail(entry, Fault(error, Condition.ENCODE_ERROR, self.operator))


def _checked_timestamps(
    column: Sequence[Any] | None,
) -> tuple[list[int] | None, Mapping[int, BaseException]]:
    """Timestamps with 0 for those that no operator has set, and entry -> error of bad ones."""
    if column is None:
        return None, {}
    stamps, bad = checked_timestamps(column)
    return [0 if one is KEEP else one for one in stamps], bad


def _fields_of(objects: list[Mapping[str, Any]], name: str) -> list[Any]:
    """A field of all objects; None where it is missing."""
    try:
        return list(map(itemgetter(name), objects))
    except KeyError:
        return [one.get(name) for one in objects]


def _as_object(value: Any) -> Mapping[str, Any]:
    """The fields of a value that is an object."""
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType] - decoded, so its keys are text
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if isinstance(value, BaseModel):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"a row is made of an object with fields, not of {type(value).__name__}")


def _computing(name: str, error: BaseException) -> BaseException:
    """The error of an expression with its column in the text; others are no record's."""
    if is_nobodys(error):
        return error
    said = f"{type(error).__name__}: {error}"
    return ValueError(f"column {name} cannot be computed: {said}")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(map(str, names))[:5])
