"""The tasks that an order is for: by id, or by a filter, counted and confirmed before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import typer

from kafka_etl.cli.dlq.bulk import confirm_number, tell
from kafka_etl.cli.tasks.finding import parse_where
from kafka_etl.cli.tasks.states import parse_states

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.task_history.index import Index
    from kafka_etl.task_history.rows import TaskRow

_SAMPLE: Final = 5
_KINDS: Final = 10

Objection = Callable[["TaskRow"], "str | None"]
"""Says why an order leaves a task alone; None: the order is for the task."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tasks of an order.

    Attributes:
        rows: What the order is for, as the sender has seen it.
        left: Tasks that were named, or fit the filter, and are left alone; each with the reason.
        words: The filter in words; empty: the tasks were named one by one.
    """

    rows: Sequence[TaskRow]
    left: Sequence[tuple[TaskRow, str]]
    words: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """Which tasks a user asks for: ids; states and a filter, which must both fit; or a plan."""

    ids: Sequence[str]
    where: str | None
    states: Sequence[str]
    plan: str | None = None

    def __post_init__(self) -> None:
        """Check that tasks are named, in one way.

        Raises:
            typer.BadParameter: They are not.
        """
        by_filter = self.where is not None or bool(self.states)
        if bool(self.ids) + by_filter + (self.plan is not None) != 1:
            said = "name tasks by their ids, by --where and --state, or by the --plan of a dry run"
            raise typer.BadParameter(said, param_hint="ID")

    @property
    def words(self) -> str:
        """The request in words."""
        if self.ids:
            return "named by their ids"
        parts = [f"state {' or '.join(self.states)}"] if self.states else []
        parts += [f"where {self.where}"] if self.where is not None else []
        return ", ".join(parts)

    def choose(self, index: Index, objection: Objection) -> Chosen:
        """Choose the tasks.

        Raises:
            NoSuchTask: An id is that of no task.
            typer.BadParameter: The filter is none.
        """
        found = self._named(index) if self.ids else self._fitting(index)
        rows: list[TaskRow] = []
        left: list[tuple[TaskRow, str]] = []
        for row in found:
            reason = objection(row)
            if reason is None:
                rows.append(row)
            else:
                left.append((row, reason))
        return Chosen(sorted(rows), left, self.words)

    def _named(self, index: Index) -> Iterable[TaskRow]:
        from kafka_etl.task_history.pipeline import named_task

        return [named_task(index, task).row for task in dict.fromkeys(self.ids)]

    def _fitting(self, index: Index) -> Iterable[TaskRow]:
        tasks = index.tasks(parse_where(self.where), parse_states(list(self.states)))
        return {(task.row.partition, task.row.id): task.row for task in tasks}.values()


def preview(pipeline: str, verb: str, chosen: Chosen, say: Callable[[str], None] = tell) -> None:
    """Show what an order by filter is for."""
    from kafka_etl.readable import counted, plain

    say(f"{verb} {counted(len(chosen.rows), 'task')} of {pipeline}: {chosen.words}")
    for reason, number in Counter(reason for _, reason in chosen.left).most_common():
        say(f"  {number:,} more are left alone: {reason}")
    kinds = Counter(f"{row.state}  {row.error_type}".rstrip() for row in chosen.rows)
    for kind, number in kinds.most_common(_KINDS):
        say(f"  {number:>9,}  {plain(kind)}")
    every = max(1, len(chosen.rows) // _SAMPLE)
    for row in chosen.rows[::every][:_SAMPLE]:
        say(f"  such as  {plain(row.id)}")


def confirm(chosen: Chosen, *, yes: bool) -> None:
    """Have the user confirm what was previewed, if there are many.

    Raises:
        SelectionRefused: Nobody has confirmed.
    """
    advice = (
        "Give the same command with --dry-run, and then with --plan and what it shows; or with "
        "--yes."
    )
    confirm_number(len(chosen.rows), "tasks", advice, yes=yes)
