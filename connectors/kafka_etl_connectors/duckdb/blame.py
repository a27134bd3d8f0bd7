"""Whose fault a refused batch is, found by transactions that are rolled back.

DuckDB has no savepoints, and an error ends the transaction. Each deletion is tried alone first,
then each row alone behind the good deletions, by halves; what is left is refused only together, as
two rows with one key are, and of these the earlier row stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from kafka_etl.contracts import Refused
from kafka_etl_connectors.duckdb.statements import POSITION

Trial = Callable[[pa.Table, pa.Table], duckdb.Error | None]
"""Tries rows and deletions in a transaction that is rolled back; returns the error of a row."""
Twins = Callable[[pa.Table], dict[int, Refused]]
"""Finds the rows that repeat what has to be unique."""


def blamed(rows: pa.Table, gone: pa.Table, trial: Trial, twins: Twins) -> dict[int, Refused]:
    """Position -> verdict of everything that DuckDB refuses.

    Args:
        rows: The rows, with `POSITION`.
        gone: The deletions, with `POSITION`.
        trial: Tries a part of them.
        twins: Finds rows that cannot stand beside an earlier one.
    """
    nothing = rows.slice(0, 0)
    bad = _alone(gone, lambda part: trial(nothing, part))
    gone = _without(gone, bad)
    bad |= _alone(rows, lambda part: trial(part, gone))
    rows = _without(rows, bad)
    error = trial(rows, gone)
    found = {} if error is None else twins(rows)
    while error is not None:
        found = found or _first(rows, error, lambda part: trial(part, gone))
        bad |= found
        rows = _without(rows, found)
        error, found = trial(rows, gone), {}
    return bad


def _alone(table: Any, trial: Callable[[pa.Table], duckdb.Error | None]) -> dict[int, Refused]:
    """The verdicts on rows that are refused alone, whatever stands beside them."""
    bad: dict[int, Refused] = {}
    ranges = [(0, table.num_rows)] if table.num_rows else []
    while ranges:
        low, high = ranges.pop()
        error = trial(table.slice(low, high - low))
        if error is None:
            continue
        if high - low > 1:
            middle = (low + high) // 2
            ranges += [(middle, high), (low, middle)]
        else:
            bad[_position(table, low)] = _verdict(error)
    return bad


def _first(
    table: Any, error: duckdb.Error, trial: Callable[[pa.Table], duckdb.Error | None]
) -> dict[int, Refused]:
    """The verdict on the first row that cannot stand beside the rows before.

    Args:
        table: The rows, which are refused together.
        error: That refusal.
        trial: Tries rows.
    """
    passes, fails = 0, table.num_rows
    while fails - passes > 1:
        middle = (passes + fails) // 2
        found = trial(table.slice(0, middle))
        if found is None:
            passes = middle
        else:
            fails, error = middle, found
    return {_position(table, passes): _verdict(error)}


def _without(table: Any, bad: dict[int, Refused]) -> Any:
    compute: Any = pc
    positions = table.column(POSITION)
    return table.filter(compute.invert(compute.is_in(positions, pa.array(list(bad), pa.int64()))))


def _position(table: Any, at: int) -> int:
    return int(table.column(POSITION)[at].as_py())


def _verdict(error: duckdb.Error) -> Refused:
    return Refused(type(error).__name__, str(error).splitlines()[0])
