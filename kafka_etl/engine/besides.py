"""What a record has besides its value, as columns of a table, and what operators change of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import pyarrow
from kafka_etl.engine.flow import Flow
from kafka_etl.engine.reading import HEADERS, KEY, OFFSET, PARTITION, ROW, TIMESTAMP, TO
from kafka_etl.record import KEEP, Changes, SourceRecord, newer

if TYPE_CHECKING:
    import pyarrow as pa

_CHANGEABLE: Final = (KEY, HEADERS, TIMESTAMP, TO)
_SECOND: Final = itemgetter(1)


def attached(flow: Flow, table: pa.Table, wanted: Iterable[str]) -> pa.Table:
    """The table with these columns, where it does not have them already."""
    rows = table[ROW]
    for name in wanted:
        if name not in table.column_names:
            table = table.append_column(name, _of_rows(_given(flow, name), rows))
    return table


def changes(flow: Flow, table: pa.Table) -> list[Changes | None] | None:
    """What operators changed, for each row of a table that comes from them.

    A column that is not there, or is what it was, changes nothing.
    """
    columns = {name: _changed(flow, table, name) for name in _CHANGEABLE}
    before = _before(flow, table)
    if not any(columns.values()):
        return before if before is not None and any(before) else None
    rows: list[Changes | None] = list(
        zip(*(columns[name] or repeat(KEEP, table.num_rows) for name in _CHANGEABLE), strict=True)
    )
    if before is None:
        return rows
    return [_on_top(new, old) for new, old in zip(rows, before, strict=True)]


def _before(flow: Flow, table: pa.Table) -> list[Changes | None] | None:
    """What operators before the first one on tables changed."""
    if flow.changes is None:
        return None
    known: list[Changes | None] = flow.changes
    rows: list[Any] = table[ROW].to_pylist()
    return [None if row is None or row < 0 else known[row] for row in rows]


def _on_top(new: Changes | None, old: Changes | None) -> Changes | None:
    if new is None or old is None:
        return new or old
    return newer(new, old)


def _changed(flow: Flow, table: pa.Table, name: str) -> list[Any] | None:
    if name not in table.column_names:
        return None
    column = table[name]
    given = flow.besides.get(name)
    if given is not None and _is_same(column, _of_rows(given, table[ROW])):
        return None
    held: list[Any] = column.to_pylist()
    if name == HEADERS:
        return [[(header["name"], header["value"]) for header in row or ()] for row in held]
    if name == KEY:
        return held
    return [KEEP if one is None else one for one in held]


def _is_same(column: Any, given: Any) -> bool:
    """The types may differ by what another library makes of them: large_binary for binary."""
    arrow = pyarrow()
    try:
        return bool(arrow.chunked_array(column.cast(given.type).chunks).equals(given))
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError, arrow.ArrowTypeError):
        return False


def _of_rows(given: Any, rows: Any) -> Any:
    """A column of the entries, spread over rows; null for those that belong to all."""
    arrow = pyarrow()
    compute: Any = arrow.compute
    if len(rows) == len(given) and rows.equals(_numbers(len(given))):
        return arrow.chunked_array([given])
    known = compute.if_else(compute.less(rows, 0), None, rows)
    return arrow.chunked_array([given]).take(known)


def _numbers(count: int) -> Any:
    arrow = pyarrow()
    return arrow.chunked_array([arrow.array(range(count), arrow.int64())])


# Columns of the entries, before any operator on tables


def _given(flow: Flow, name: str) -> Any:
    """Made once an attempt."""
    if name not in flow.besides:
        arrow = pyarrow()
        read, place, kind = _COLUMNS[name]
        flow.besides[name] = arrow.array(_entries(flow, read, place), kind(arrow))
    return flow.besides[name]


def _entries(flow: Flow, read: Callable[[SourceRecord], Any], place: int | None) -> list[Any]:
    """One thing of each entry: as the source record has it, or as it was changed."""
    sources = flow.sources()
    column = [None if source is None else read(source) for source in sources]
    if flow.changes is None or place is None:
        return column
    return [
        held if changed is None or changed[place] is KEEP else _plain(flow, entry, changed[place])
        for entry, (held, changed) in enumerate(zip(column, flow.changes, strict=True))
    ]


def _plain(flow: Flow, entry: int, changed: Any) -> Any:
    """What was set; a decoded key that nobody touched is its bytes."""
    if flow.is_own_key(entry, changed):
        return flow.source[flow.origin(entry)].key()
    return changed.encode() if isinstance(changed, str) else changed


def _headers(record: SourceRecord) -> list[tuple[str, bytes | None]]:
    return record.headers() or []


def _timestamp(record: SourceRecord) -> int:
    return record.timestamp()[1]


def _type_of_headers(arrow: Any) -> Any:
    header = arrow.struct([("name", arrow.string()), ("value", arrow.binary())])
    return arrow.list_(header)


_Column = tuple[Callable[[SourceRecord], Any], int | None, Callable[[Any], Any]]
"""How to read it from the source, its place among changes, and its type."""

_COLUMNS: Final[Mapping[str, _Column]] = {
    KEY: (lambda record: record.key(), 0, lambda arrow: arrow.binary()),
    HEADERS: (_headers, 1, _type_of_headers),
    TIMESTAMP: (_timestamp, 2, lambda arrow: arrow.int64()),
    TO: (lambda _record: None, 3, lambda arrow: arrow.string()),
    PARTITION: (lambda record: record.partition(), None, lambda arrow: arrow.int32()),
    OFFSET: (lambda record: record.offset(), None, lambda arrow: arrow.int64()),
}
