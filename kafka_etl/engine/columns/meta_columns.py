"""The parts of records besides the value, as columns of a table: `_key`, `_headers` and others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import numbers, pyarrow
from kafka_etl.engine.columns.reading import HEADERS, KEY, OFFSET, PARTITION, ROW, TIMESTAMP, TO
from kafka_etl.engine.rows.faults import Fault, GroupFault, NamedFaults
from kafka_etl.engine.rows.flow import Column, Extras, Flow, Sheet
from kafka_etl.engine.rows.mapping import map_each
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.invocation import SHARED, Condition
from kafka_etl.record import KEEP, Headers

if TYPE_CHECKING:
    import pyarrow as pa

_IN_ORDER: Final = (KEY, HEADERS, TIMESTAMP, TO)
CHANGEABLE: Final = frozenset(_IN_ORDER)
"""Names of the columns with which an operator sets the other parts of its outputs."""


def attached(flow: Flow, sheet: Sheet, wanted: Iterable[str], operator: BoundOperator) -> pa.Table:
    """The table of a sheet with the columns that an operator asks for.

    Args:
        flow: The attempt.
        sheet: The sheet.
        wanted: Names of the columns; a column that the table has already stays as it is.
        operator: The operator that asks for the columns.

    Raises:
        NamedFaults: An earlier operator has set a part of some records that a column cannot hold.
        GroupFault: An earlier operator has set such a part of an output of all records.
    """
    table = sheet.table
    rows = table[ROW]
    for name in wanted:
        if name not in table.column_names:
            try:
                given = _given(flow, sheet, name)
            except _NoColumn as bad:
                raise _blamed(flow, bad, name, operator) from None
            table = table.append_column(name, _of_rows(given, rows))
    return table


def extras(flow: Flow, sheet: Sheet, rows: Sequence[int]) -> Extras:
    """The parts besides the value that operators have set, for each row of a table.

    A column sets nothing if the table does not have the column, or if no operator has changed it.

    Args:
        flow: The attempt.
        sheet: The sheet with the table.
        rows: The entry of each row, or SHARED.
    """
    before = flow.extras.picked(
        lambda column: [KEEP if row == SHARED else column[row] for row in rows]
    )
    keys, headers, timestamps, topics = (_changed(sheet, name) for name in _IN_ORDER)
    return Extras(
        keys=before.keys if keys is None else keys,
        headers=before.headers if headers is None else headers,
        timestamps=before.timestamps if timestamps is None else timestamps,
        topics=_topics(before.topics) if topics is None else topics,
    )


def _topics(column: Column) -> Column:
    return column and [None if topic is KEEP else topic for topic in column]


def _changed(sheet: Sheet, name: str) -> list[Any] | None:
    table = sheet.table
    if name not in table.column_names:
        return None
    column = table[name]
    given = sheet.besides.get(name)
    if given is not None and _is_same(column, _of_rows(given, table[ROW])):
        return None
    held: list[Any] = column.to_pylist()
    if name == HEADERS:
        return list(map(_pairs, held))
    if name == TIMESTAMP:
        return [KEEP if one is None else one for one in held]
    return held


def _pairs(row: Any) -> Any:
    """Headers of a row; a row of another shape stays as it is, and the encode stage refuses it."""
    try:
        return [(header["name"], header["value"]) for header in row or ()]
    except (TypeError, LookupError):
        return row


def _is_same(column: Any, given: Any) -> bool:
    """Whether two columns are equal; a library may have changed the type, as to large_binary."""
    arrow = pyarrow()
    try:
        return bool(arrow.chunked_array(column.cast(given.type).chunks).equals(given))
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError, arrow.ArrowTypeError):
        return False


def _of_rows(given: Any, rows: Any) -> Any:
    """A column with one element per row, from a column with one element per entry.

    A row that belongs to all records has null.

    Args:
        given: Arrow array with one element per entry.
        rows: The column `_row` of the table.
    """
    arrow = pyarrow()
    compute: Any = arrow.compute
    if len(rows) == len(given) and rows.equals(arrow.chunked_array([numbers(len(given))])):
        return arrow.chunked_array([given])
    known = compute.if_else(compute.less(rows, 0), None, rows)
    return arrow.chunked_array([given]).take(known)


# Columns of the entries, before any operator on tables


def _given(flow: Flow, sheet: Sheet, name: str) -> Any:
    """The column of the entries, as they were when the sheet was made; made once per sheet."""
    if name not in sheet.besides:
        arrow = pyarrow()
        read, type_of = _COLUMNS[name]
        entries, kind = read(flow), type_of(arrow)
        count = len(flow.source) if flow.origins is None else len(flow.origins)
        sheet.besides[name] = arrow.nulls(count, kind) if entries is None else _array(entries, kind)
    return sheet.besides[name]


class _NoColumn(Exception):
    """Some entries have a part that the type of the column cannot hold.

    Args:
        errors: Entry -> error of pyarrow.
    """

    def __init__(self, errors: Mapping[int, BaseException]) -> None:
        super().__init__(f"{len(errors)} entries")
        self.errors = errors


def _array(entries: Sequence[Any], kind: Any) -> Any:
    arrow = pyarrow()
    try:
        return arrow.array(entries, kind)
    except Exception:

        def alone(entry: Any) -> Any:
            return arrow.array([entry], kind)

        _, failed = map_each(alone, len(entries), entries)
        if failed:
            raise _NoColumn(dict(failed)) from None
        raise


def _blamed(flow: Flow, bad: _NoColumn, name: str, operator: BoundOperator) -> Exception:
    by = flow.set_by
    faults = {
        entry: Fault(
            TypeError(f"`{name}`, which {operator.name} looks at, cannot be a column: {error}"),
            Condition.OPERATOR_ERROR,
            by or operator.name,
        )
        for entry, error in bad.errors.items()
    }
    origins = {flow.origin(entry): fault for entry, fault in faults.items()}
    if SHARED in origins:
        return GroupFault(origins[SHARED], splittable=not flow.mixed)
    return NamedFaults(origins)


def _keys(flow: Flow) -> list[Any]:
    """The keys as bytes: source bytes for an unchanged decoded key, and UTF-8 for text."""
    own: list[Any] = flow.spread(flow.read("key"), None)
    for entry, key in enumerate(flow.extras.keys or ()):
        if key is not KEEP and not flow.is_own_key(entry, key):
            own[entry] = key.encode() if isinstance(key, str) else key
    return own


def _headers(flow: Flow) -> list[Headers] | None:
    """The headers of each entry; None where no record has headers, as most often."""
    if flow.extras.headers is None and not any(flow.read("headers")):
        return None
    return flow.headers_now()


def _numbers_of(part: str) -> Callable[[Flow], list[Any]]:
    return lambda flow: flow.spread(flow.read(part), None)


def _type_of_headers(arrow: Any) -> Any:
    header = arrow.struct([("name", arrow.string()), ("value", arrow.binary())])
    return arrow.list_(header)


_Read = Callable[[Flow], Sequence[Any] | None]

_COLUMNS: Final[Mapping[str, tuple[_Read, Callable[[Any], Any]]]] = {
    KEY: (_keys, lambda arrow: arrow.binary()),
    HEADERS: (_headers, _type_of_headers),
    TIMESTAMP: (Flow.timestamps_now, lambda arrow: arrow.int64()),
    PARTITION: (_numbers_of("partition"), lambda arrow: arrow.int32()),
    OFFSET: (_numbers_of("offset"), lambda arrow: arrow.int64()),
}
"""Name of a column -> function that reads an element per entry, and the column's Arrow type."""
