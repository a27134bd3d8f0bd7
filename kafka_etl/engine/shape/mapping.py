"""Which columns of a table the rows of a pipeline set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafka_etl.contracts import Column
from kafka_etl.errors import SinkFailed
from kafka_etl.spelling import did_you_mean
from kafka_etl.table_settings import TableSettings


def mapped_columns(settings: TableSettings, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns that every row sets, in the order of the table.

    With `columns` (and `key` by expressions): the columns named there. Otherwise every column that
    rows may set, except those with a default that take no null, such as a serial number: a field
    that is missing would be null there. They are left to the target unless `key` names them.

    Args:
        settings: Settings of the sink.
        columns: Columns of the table, as preflight read them.

    Raises:
        SinkFailed: The settings name columns that are not there, or leave out what a row needs.
    """
    by_name = {column.name: column for column in columns}
    named = set(settings.key_columns)
    if settings.columns is not None:
        named |= settings.columns.keys()
    wanted = named | ({settings.newer} if settings.newer else set())
    if settings.extra not in {"error", "ignore"}:
        wanted.add(settings.extra)
    problems = [_unknown(name, by_name) for name in sorted(wanted - by_name.keys())]
    problems += [
        f"column {name} is computed by the target, and no row can set it"
        for name in sorted(wanted & by_name.keys())
        if not by_name[name].writable
    ]
    if settings.columns is not None:
        chosen = wanted
    else:
        chosen = wanted | {c.name for c in columns if c.writable and (c.nullable or not c.optional)}
    problems += [
        f"column {column.name} needs a value, and `columns` does not set it"
        for column in columns
        if column.name not in chosen and not column.optional and column.writable
    ]
    if problems:
        raise SinkFailed(
            f"table {settings.table} does not fit: {'; '.join(problems)}",
            "Correct sink.with, or the table.",
        )
    return tuple(column for column in columns if column.name in chosen)


def _unknown(name: str, by_name: Mapping[str, Column]) -> str:
    near = did_you_mean(name, list(by_name))
    there = f"; {near}" if near else f"; it has {', '.join(by_name) or 'none'}"
    return f"there is no column {name}{there}"
