"""The filter of tasks, in the language of `kafka_etl.expression`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Final, get_type_hints

from kafka_etl.expression import Bound, Condition, conditions
from kafka_etl.task_history.rows import UNREADABLE, Task, TaskRow
from kafka_etl.tasks.states import State
from kafka_etl.units import moment
from kafka_etl.vocabulary import Vocabulary

_TIMES: Final[Mapping[str, str]] = {
    "submitted": "row.submitted_ms",
    "changed": "row.changed_ms",
    "started": "row.started_ms",
    "finished": "row.finished_ms",
    "due": "row.due_ms",
}
_PLACES: Final[Mapping[str, str]] = {
    **_TIMES,
    "id": "row.id",
    "state": "row.state",
    "outcome": "row.outcome",
    "generation": "row.generation",
    "attempts": "row.attempts",
    "by": "row.by",
    "executor": "row.executor",
    "source": "row.source",
    "size": "row.size",
    "duplicates": "row.duplicates",
    "error": "row.error",
    "reason": "row.reason",
    "progress": "task.fraction",
    "partition": "row.partition",
}
_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    **{name: {} for name in _PLACES},
    "attempts": {"total": "row.attempts", "counted": "row.counted"},
    "error": {"type": "row.error_type", "message": "row.error_text"},
    "source": {
        "topic": "row.source_topic",
        "partition": "row.source_partition",
        "offset": "row.source_offset",
    },
    "progress": {"fraction": "task.fraction", "text": "task.text"},
}
_NAME: Final = "error_name"
_COLUMNS: Final[Mapping[str, type]] = {
    **{name: str if kind is str else int for name, kind in get_type_hints(TaskRow).items()},
    _NAME: str,
}
_STATE: Final = frozenset({"state"})
_STATES: Final = (*(state.value for state in State), UNREADABLE)
_ENDINGS: Final[Mapping[str, str]] = {"error.type": f"row.{_NAME}"}
_WORDS: Final[Mapping[str, Collection[str]]] = {"state": _STATES}


@dataclass(frozen=True, slots=True)
class Where:
    """A checked filter over tasks.

    Attributes:
        source: As the user wrote the filter.
        now: The time from which durations such as `2h ago` are counted back.
        text: The filter with such durations as times: it selects the same tasks for ever.
        unfit: Number of tasks so far to which a term could not be applied.

    Raises:
        ExpressionError: Naming the column, what is wrong and what is allowed.
    """

    source: str
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    text: str = field(init=False)
    _unfit: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)
    _of_state: Sequence[Condition] = field(init=False, repr=False, compare=False)
    _terms: Sequence[Condition] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        times = dict.fromkeys(_TIMES, partial(moment, now=self.now))
        vocabulary = Vocabulary("row, task", _PLACES, _FIELDS, times, _ENDINGS, _WORDS)
        text, found = conditions(self.source.strip(), vocabulary)
        for name, value in (
            ("text", text),
            ("_of_state", [term for term in found if term.names == _STATE]),
            ("_terms", [term for term in found if term.names != _STATE]),
        ):
            object.__setattr__(self, name, value)

    @property
    def states(self) -> Collection[str]:
        """The states of which tasks may be selected."""
        return [state for state in _STATES if self._takes_state(state)]

    def _takes_state(self, state: str) -> bool:
        return _all(self._of_state, SimpleNamespace(state=state), None) is True

    @property
    def bounds(self) -> Collection[Bound]:
        """What a database can test of the filter, beside `takes`."""
        found = [term.bound(_COLUMNS) for term in self._terms]
        bounds = [_of_column(bound) for bound in found if bound is not None]
        return [bound for bound in bounds if bound is not None]

    def takes(self, task: Task) -> bool:
        """Whether a task of one of `states` is selected.

        A task to which a term cannot be applied, since the term compares a text to a number, say,
        is not selected; `unfit` counts these tasks.
        """
        taken = _all(self._terms, task.row, task)
        if taken is None:
            self._unfit[0] += 1
        return bool(taken)

    @property
    def unfit(self) -> int:
        return self._unfit[0]


def _of_column(bound: Bound) -> Bound | None:
    """The bound as one of a column, or one that holds for more; None: the bound is of no column."""
    if bound.column != _NAME:
        return bound
    return Bound("error_type", "LIKE", f"%{bound.constant}") if bound.symbol == "=" else None


def _all(terms: Sequence[Condition], row: object, task: Task | None) -> bool | None:
    """Whether all terms are true; None: one cannot be applied."""
    try:
        return all(term.test(row, task) for term in terms)
    except Exception:  # noqa: BLE001 - a term may fail in any way on data of any shape
        return None
