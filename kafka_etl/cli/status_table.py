"""The table of `kafka-etl status`, and below it what has more to say than a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final

from kafka_etl.errors import Problem

Answer = Mapping[str, Any]
"""A pipeline as the daemon describes it over HTTP."""

FAILED: Final = frozenset({"failed", "fenced"})
_UNKNOWN: Final = "-"
_GAP: Final = "  "
_SHOWN_CAUSES: Final = 3


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table.

    Attributes:
        leaves: Its turn to be left out where the terminal is too narrow; None: it stays.
    """

    title: str
    cell: Callable[[Answer], str]
    is_text: bool = False
    leaves: int | None = None


def _state(pipeline: Answer) -> str:
    return f"{pipeline['state']}, to be paused" if pipeline["to_be_paused"] else pipeline["state"]


def _lag(pipeline: Answer) -> str:
    lag = pipeline["lag"]
    if lag["records"] is None:
        return _UNKNOWN
    return f"{lag['records']:,} ({lag['seconds']:,.0f} s)" if lag["records"] else "0"


_COLUMNS: Final = (
    _Column("NAME", lambda p: p["name"], is_text=True),
    _Column("STATE", _state, is_text=True),
    _Column("GUARANTEE", lambda p: p["guarantee"] or _UNKNOWN, is_text=True, leaves=1),
    _Column("WORKERS", lambda p: f"{p['workers']:,}", leaves=3),
    _Column("PARTITIONS", lambda p: f"{p['partitions']:,}", leaves=2),
    _Column("IN/S", lambda p: f"{p['rates']['records_in']:,.0f}", leaves=5),
    _Column("OUT/S", lambda p: f"{p['rates']['records_out']:,.0f}", leaves=4),
    _Column("LAG", _lag),
    _Column("DEAD", lambda p: f"{p['counts']['dead_letters']:,}"),
)


def table(pipelines: Sequence[Answer], width: int | None) -> Iterator[str]:
    """A line for each pipeline under one of titles.

    Args:
        pipelines: As the daemon describes them.
        width: Of the terminal, where columns that matter less are left out; None: a pipe.
    """
    texts = [(c, [c.title, *map(c.cell, pipelines)]) for c in _COLUMNS]
    columns = [(column, cells, max(map(len, cells))) for column, cells in texts]
    going = sorted((c for c in _COLUMNS if c.leaves is not None), key=lambda c: c.leaves or 0)
    while width is not None and going and _width([size for *_, size in columns]) > width:
        gone = going.pop(0)
        columns = [entry for entry in columns if entry[0] is not gone]
    for row in range(len(pipelines) + 1):
        cells = (
            cells[row].ljust(size) if column.is_text else cells[row].rjust(size)
            for column, cells, size in columns
        )
        yield _GAP.join(cells).rstrip()


def remarks(pipeline: Answer) -> Iterator[str]:
    """Deaths, troubles and the error of a pipeline; the error's own lines stay lines."""
    name, deaths = pipeline["name"], pipeline["counts"]["worker_deaths"]
    if deaths:
        yield f"{name}: {deaths:,} worker {'death' if deaths == 1 else 'deaths'}"
    if pipeline["trouble"]:
        yield f"{name}: trouble: {pipeline['trouble']}"
    if pipeline["error"]:
        yield f"{name}: {Problem(**pipeline['error'])}"
    yield from _causes(pipeline)


def _causes(pipeline: Answer) -> Iterator[str]:
    """The commonest causes of dead letters, and the command that shows one."""
    causes = pipeline.get("causes", [])[:_SHOWN_CAUSES]
    for cause in causes:
        where = f" in {cause['operator']}" if cause["operator"] else ""
        yield (
            f"{pipeline['name']}: dead letters: {cause['count']:,} {cause['condition']}{where}: "
            f"{cause['error']}"
        )
    if causes:
        yield f"  kafka-etl dlq show {quote(pipeline['file'])} {causes[0]['example']}"


def _width(sizes: Sequence[int]) -> int:
    return sum(sizes) + len(_GAP) * (len(sizes) - 1)
