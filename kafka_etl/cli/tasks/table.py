"""Renders tasks one a line: as a table for people, or flat for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kafka_etl.readable import plain, time_of
from kafka_etl.task_history.rows import Task
from kafka_etl.tasks.states import State
from kafka_etl.terminal import fitting, is_narrow, wrapped

_LONGEST_ID: Final = 40
_NOTE: Final = 200
_SECOND: Final = len("2026-11-28T10:00:00")
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def summary(name: str, counts: Mapping[str, int]) -> str:
    """The number of tasks of a pipeline, by state."""
    order = [state.value for state in State]
    known = sorted(counts, key=lambda state: order.index(state) if state in order else len(order))
    states = ", ".join(f"{counts[state]:,} {state}" for state in known)
    total = sum(counts.values())
    return f"{name}: {total:,} tasks{f': {states}' if states else ''}"


def table(tasks: Sequence[Task], width: int | None) -> Iterator[str]:
    """Yield a line of titles, then one for each task.

    Args:
        tasks: The tasks.
        width: Width of the terminal, to which lines are cut; None: the output is no terminal.
    """
    if width is not None and is_narrow(width):
        for task in tasks:
            yield plain(task.row.id)
            facts = (str(task.row.state), _changed(task), _took(task), note_of(task))
            yield from wrapped("  ".join(facts), width, "  ")
        return
    longest = max((len(plain(task.row.id)) for task in tasks), default=0)
    size = max(len("ID"), longest if width is None else min(longest, _LONGEST_ID))
    titles = f"{'ID':<{size}}  {'STATE':<10}  {'CHANGED':<{_SECOND}}  {'TOOK':>7}  NOTE"
    yield fitting(titles, width)
    for task in tasks:
        row = task.row
        name = fitting(plain(row.id), size)
        changed = f"{_changed(task):<{_SECOND}}"
        line = f"{name:<{size}}  {row.state:<10}  {changed}  {_took(task):>7}  {note_of(task)}"
        yield fitting(line.rstrip(), width)


def note_of(task: Task) -> str:
    """What is worth knowing of a task in its state, on one line."""
    row = task.row
    tries = f"attempt {row.counted + 1}" if row.counted else ""
    match row.state:
        case State.DEQUEUED | State.RUNNING | State.STOPPING:
            where = f"on {row.executor}" if row.executor else ""
            parts = [progress_of(task), where, tries, row.reason]
        case State.RETRYING:
            parts = [f"due {time_of(row.due_ms)}", tries, row.error]
        case State.STOPPED:
            parts = [row.reason or row.error]
        case State.DELIVERING:
            parts = [f"has {row.outcome}", row.error]
        case State.ENQUEUED:
            parts = [tries]
        case State.SUCCEEDED:
            parts = []
        case _:
            parts = [row.error]
    return " ".join(plain(", ".join(filter(None, parts))).split())[:_NOTE]


def progress_of(task: Task) -> str:
    """How far the attempt is; empty: it has not said."""
    if task.fraction is None:
        return ""
    return f"{task.fraction:.0%} {task.text}".rstrip()


def _changed(task: Task) -> str:
    """The time of the last change, without its fraction, in UTC."""
    return (time_of(task.row.changed_ms) or "-")[:_SECOND].replace("T", " ")


def _took(task: Task) -> str:
    """How long the last attempt of a task that has ended took, about."""
    row = task.row
    if row.started_ms is None or row.finished_ms is None:
        return "-"
    return duration(row.finished_ms - row.started_ms)


def duration(ms: int) -> str:
    """A duration for people: its two largest units."""
    left = max(0, ms)
    if left < _UNITS[-1][1]:
        return f"{left}ms"
    parts: list[str] = []
    for unit, size in _UNITS:
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount}{unit}")
    return "".join(parts[:2])
