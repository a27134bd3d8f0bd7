"""Operators on tables: the values of a `Flow` become a table, and values or bytes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from kafka_etl.codecs.arrow import frame, numbers, of_values, pyarrow, rows_of
from kafka_etl.contracts import Codec
from kafka_etl.engine.columns import meta_columns
from kafka_etl.engine.columns.meta_columns import CHANGEABLE
from kafka_etl.engine.columns.reading import (
    RESERVED,
    ROW,
    Reading,
    values_only,
    without_reserved,
    write_rows,
)
from kafka_etl.engine.rows.blame import group_fault, named_faults
from kafka_etl.engine.rows.faults import Fault, GroupFault
from kafka_etl.engine.rows.flow import NULL, Flow, Sheet
from kafka_etl.engine.rows.mapping import is_nobodys, is_not_the_operators, with_record
from kafka_etl.errors import RecordErrors
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.functions.declare import DROP
from kafka_etl.functions.signature import Takes
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import NESTED_RECORD, Record
from kafka_etl.value_classes import is_typed, typed

if TYPE_CHECKING:
    import pyarrow as pa


def decode_table(flow: Flow, codec: Codec) -> None:
    """Decode the values of a flow into a table.

    Null values are set aside; records whose values cannot be decoded become faults.

    Raises:
        GroupFault: The values cannot be put into one table.
        Unavailable: The codec's schema registry is away.
    """
    values = flow.values
    entries: Sequence[int] = range(len(values))
    if flow.nulls:
        entries = flow.present()
        values = [values[entry] for entry in entries]
    try:
        reading = Reading(codec, values)
        table = reading.table
    except BaseException as failed:
        if not is_nobodys(failed):  # tables of several parts do not fit each other
            fault = Fault(failed, Condition.DECODE_ERROR, codec.name)
            raise GroupFault(fault, splittable=True) from failed
        if len(entries) > 1:
            raise  # any record may be the cause: the engine retries half as many records
        raise with_record(failed, flow.source[flow.origin(entries[0])]) from failed
    for at, error in reading.bad.items():
        flow.fail(entries[at], Fault(error, Condition.DECODE_ERROR, codec.name))
    if reading.bad:
        entries = [entry for at, entry in enumerate(entries) if at not in reading.bad]
    _become(flow, table, entries)


def enter(flow: Flow, operator: BoundOperator) -> None:
    """Make the values of a flow a table, unless they are one already.

    Args:
        flow: The attempt.
        operator: The operator that takes the table; blamed for values that make no table.

    Raises:
        NamedFaults: Some values are not rows; the other records must be attempted without them.
        GroupFault: The values cannot be put into one table.
    """
    if flow.sheet is not None or not flow.values:
        return
    entries = flow.present()
    try:
        values = [flow.values[entry] for entry in entries]
        _refuse_records(values)
        values = list(map(_plain, values))
        _become(flow, without_reserved(of_values(values)), entries)
    except RecordErrors as named:
        raise named_faults(flow, operator, entries, named) from named
    except BaseException as error:
        if is_nobodys(error):
            raise
        raise group_fault(flow, operator, error) from error


def _refuse_records(values: list[Any]) -> None:
    """Refuse values that are a `Record`: an operator returned a `Record` within a `Record`.

    Raises:
        RecordErrors: Some values are a `Record`.
    """
    if any(issubclass(kind, Record) for kind in set(map(type, values))):
        nested = [row for row, value in enumerate(values) if issubclass(type(value), Record)]
        raise RecordErrors(dict.fromkeys(nested, TypeError(NESTED_RECORD)))


def _plain(value: Any) -> Any:
    return typed(value.__class__).to_plain(value) if is_typed(value.__class__) else value


def _become(flow: Flow, table: pa.Table, entries: Sequence[int]) -> None:
    arrow = pyarrow()
    aside: list[int] = []
    if flow.nulls:
        aside = [entry for entry, value in enumerate(flow.values) if value is NULL]
    rows = numbers(len(entries)) if isinstance(entries, range) else arrow.array(entries)
    flow.sheet = Sheet(table.append_column(ROW, rows.cast(arrow.int64())), aside)
    flow.values = []


def leave(flow: Flow) -> None:
    """Make the table of a flow plain values, one per row, if the flow has a table."""
    if flow.sheet is not None:
        _leave(flow, flow.sheet, rows_of(values_only(flow.sheet.table)))


def encode_table(flow: Flow, sheet: Sheet, codec: Codec) -> None:
    """Encode the rows of a table; records whose rows cannot be encoded become faults.

    Raises:
        GroupFault: A row that belongs to all records cannot be encoded.
        Unavailable: The codec's schema registry is away.
    """
    encoded, failed = write_rows(codec, values_only(sheet.table))
    for row, _ in failed:
        encoded[row] = b""  # the encode stage drops the outputs of failed records at the end
    places = _leave(flow, sheet, encoded)
    for row, error in failed:
        flow.fail(places[row], Fault(error, Condition.ENCODE_ERROR, f"codec {codec.name}"))


def _leave(flow: Flow, sheet: Sheet, values: list[Any]) -> Sequence[int]:
    """Replace the table by one value per row, and put the null values back in their places.

    Returns:
        The new entry of each row.
    """
    rows, aside = _entries(sheet.table), sheet.aside
    untouched = isinstance(rows, range) and flow.origins is None and not aside
    extras = meta_columns.extras(flow, sheet, rows)
    places: Sequence[int] = range(len(rows))
    if aside:
        count = len(rows)
        passed = flow.extras.picked(lambda column: _picked(column, aside))
        extras = extras.followed_by(passed, count, len(aside))
        order = sorted(range(count + len(aside)), key=[*rows, *aside].__getitem__)
        values = _picked([*values, *([NULL] * len(aside))], order)
        rows = _picked([*rows, *aside], order)
        extras = extras.picked(lambda column: _picked(column, order))
        places = sorted(range(len(order)), key=order.__getitem__)[:count]
    flow.values, flow.nulls, flow.extras = values, bool(aside), extras
    flow.shared = SHARED in rows
    flow.origins = None if untouched and len(rows) == len(flow.source) else _origins(flow, rows)
    flow.sheet = None
    return places


def _picked(column: list[Any], order: list[int]) -> list[Any]:
    return list(map(column.__getitem__, order))


def _origins(flow: Flow, rows: Sequence[int]) -> list[int] | None:
    known = flow.origins
    if known is None:
        return None if rows == list(range(len(flow.source))) else list(rows)
    return [SHARED if row == SHARED else known[row] for row in rows]


def call(flow: Flow, operator: BoundOperator) -> None:
    """Call the operator with the table of a flow, and replace the table by the result.

    Raises:
        NamedFaults: The operator has named bad rows; the others must be attempted without them.
        GroupFault: The operator failed, and any record may be to blame.
    """
    sheet, shape = flow.sheet, operator.shape
    if sheet is None or not sheet.table.num_rows:
        return
    given = meta_columns.attached(flow, sheet, shape.columns, operator)
    try:
        taken = frame(given) if shape.takes is Takes.FRAME else given
        made = _checked(
            _as_table(operator.call(taken), given, may_drop=shape.may_drop),
            given,
            mixes=shape.mixes,
        )
    except RecordErrors as named:
        raise named_faults(flow, operator, _entries(given), named) from named
    except BaseException as error:
        if is_not_the_operators(error):
            raise
        raise group_fault(flow, operator, error) from error
    flow.dropped += _lost(given, made)
    flow.mixed = flow.mixed or shape.mixes
    if not CHANGEABLE.isdisjoint(made.column_names):
        flow.set_by = operator.name
    sheet.table = made


def _entries(table: pa.Table) -> Sequence[int]:
    """The entry of each row, or SHARED; a range if no row was dropped, moved or added."""
    given: Any = table[ROW]
    if given.equals(pyarrow().chunked_array([numbers(len(given))])):
        return range(len(given))
    held: list[int | None] = table[ROW].to_pylist()
    return [SHARED if row is None else row for row in held]


def _as_table(made: Any, given: pa.Table, *, may_drop: bool) -> pa.Table:
    """The result of an operator as a pyarrow table.

    Args:
        made: A table or data frame of pyarrow or polars, or any object with Arrow's C interface;
            DROP: no rows.
        given: The table that the operator was given.
        may_drop: Whether None means DROP.

    Raises:
        TypeError: The result is no table.
    """
    arrow = pyarrow()
    if made is DROP or (made is None and may_drop):
        return given.slice(0, 0)
    is_arrow = isinstance(made, arrow.Table | arrow.RecordBatch)
    for convert in ("collect", "to_arrow"):  # a LazyFrame to a DataFrame, a DataFrame to a table
        way = getattr(made, convert, None)
        made = way() if way is not None else made
        _refuse_objects(made)
    if isinstance(made, arrow.RecordBatch) or hasattr(made, "__arrow_c_stream__"):
        table: pa.Table = arrow.table(made)
        if is_arrow:
            table.validate(full=True)  # anybody can build an array of text that is no UTF-8
        return table
    raise TypeError(
        f"returned {type(made).__name__}; an operator on tables returns a pyarrow.Table or a "
        "polars.DataFrame"
    )


def _refuse_objects(made: Any) -> None:
    """Refuse a polars frame with a column of Python objects: Arrow would have their addresses."""
    schema: Any = getattr(made, "schema", None)
    kinds = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    names = [name for name, kind in kinds.items() if str(kind) == "Object"]
    if names:
        raise TypeError(f"a column of Python objects cannot be written: {', '.join(names)}")


def _checked(made: pa.Table, given: pa.Table, *, mixes: bool) -> pa.Table:
    """The result of an operator with a valid column `_row`; null: the row belongs to all records.

    Args:
        made: The result.
        given: The table that the operator was given.
        mixes: Whether the operator mixes rows: all its rows belong to all records.

    Raises:
        ValueError: `_row` names rows that the operator was not given, or a reserved column is there
            more than once.
    """
    arrow = pyarrow()
    rows: Any
    for name in RESERVED:
        if made.column_names.count(name) > 1:
            raise ValueError(f"returned several columns `{name}`")
    if not mixes and ROW in made.column_names:
        rows = made[ROW].cast(arrow.int64())
        ends = arrow.compute.min_max(rows).as_py()
        largest = arrow.compute.max(given[ROW]).as_py()
        if len(rows) > rows.null_count and not SHARED <= ends["min"] <= ends["max"] <= largest:
            raise ValueError("`_row` names rows that the operator was not given")
    elif not mixes and made.num_rows == given.num_rows:
        rows = given[ROW]
    else:
        rows = arrow.nulls(made.num_rows, arrow.int64())
    if ROW in made.column_names:
        made = made.drop_columns([ROW])
    return made.append_column(ROW, rows)


def _lost(given: pa.Table, made: pa.Table) -> int:
    """The number of entries that have no row any more: the operator dropped them on purpose."""
    if made[ROW].null_count or made[ROW].equals(given[ROW]):
        return 0
    count: Any = pyarrow().compute.count_distinct
    return int(count(given[ROW]).as_py() - count(made[ROW]).as_py())
