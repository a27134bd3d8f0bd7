"""Renders the table of `kafka-etl status`, and the remarks below the table."""

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
        title: Title of the column.
        cell: Function from a pipeline's description to the text of the cell.
        is_text: Whether cells are aligned to the left.
        leaves: Rank in which columns are left out on a narrow terminal, 1 first; None: the column
            always stays.
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
    """Yield a line of titles, then one line for each pipeline.

    Args:
        pipelines: Descriptions of the pipelines, from the daemon.
        width: Width of the terminal, for which less important columns are left out; None: the
            output is no terminal, and all columns stay.
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
    """Yield remarks on a pipeline: worker deaths, trouble, error, causes of dead letters.

    An error with several lines stays on several lines.
    """
    name, deaths = pipeline["name"], pipeline["counts"]["worker_deaths"]
    if deaths:
        yield f"{name}: {deaths:,} worker {'death' if deaths == 1 else 'deaths'}"
    if pipeline["trouble"]:
        yield f"{name}: trouble: {pipeline['trouble']}"
    if pipeline["error"]:
        yield f"{name}: {Problem(**pipeline['error'])}"
    yield from _tasks(pipeline)
    yield from _causes(pipeline)


def _tasks(pipeline: Answer) -> Iterator[str]:
    """Yield the number of open tasks, of a pipeline that has some."""
    open_tasks = {state: count for state, count in pipeline.get("tasks", {}).items() if count}
    if not open_tasks:
        return
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(open_tasks.items()))
    oldest = pipeline.get("oldest_enqueued_seconds")
    waits = f", the oldest waits for {oldest:,.0f} s" if oldest else ""
    yield f"{pipeline['name']}: open tasks: {states}{waits}"


def _causes(pipeline: Answer) -> Iterator[str]:
    """Yield the commonest causes of dead letters, and the command that shows one."""
    causes = pipeline.get("causes", [])[:_SHOWN_CAUSES]
    for cause in causes:
        where = f" in {cause['operator']}" if cause["operator"] else ""
        yield (
            f"{pipeline['name']}: dead letters: {cause['count']:,} {cause['condition']}{where}: "
            f"{cause['error']}"
        )
    if causes:
        yield f"  {look(pipeline['file'], pipeline.get('letters', ''), causes[0]['example'])}"


def look(file: str, letters: str, example: str) -> str:
    """Return the command that shows a dead letter; or where it is, if no command reads that place.

    Args:
        file: Path of the pipeline file.
        letters: Where its dead letters go, in words.
        example: ID of the record.
    """
    if letters and not letters.startswith("topic "):
        return f"they are in {letters}, such as that of {example}"
    return f"kafka-etl dlq show {quote(file)} {example}"


def _width(sizes: Sequence[int]) -> int:
    return sum(sizes) + len(_GAP) * (len(sizes) - 1)
