"""Plans: the tasks that a dry run has selected, kept on this machine until the order is given.

The words of the order name the generations that the dry run has seen: a task that was begun anew
since is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kafka_etl.errors import SelectionRefused
from kafka_etl.plan_files import PLAN_LENGTH, load_plan, save_plan
from kafka_etl.task_history.rows import TaskRow

_KIND: Final = "task-plans"
_AGAIN: Final = "Give the options of the dry run once more, or make a new one."


class Plan(msgspec.Struct, frozen=True):
    """What a dry run has selected.

    Attributes:
        pipeline: Name of the pipeline.
        order: The order, and what of it was chosen.
        words: The filter in words.
        rows: The tasks, as they were then.
    """

    pipeline: str
    order: tuple[str, ...]
    words: str
    rows: Sequence[TaskRow]

    @property
    def digest(self) -> str:
        """The name of the plan."""
        digest = hashlib.sha256()
        for text in (self.pipeline, *self.order, "", self.words, *_places(self.rows)):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()[:PLAN_LENGTH]


def save(plan: Plan) -> str:
    """Keep a plan; returns its digest."""
    save_plan(_KIND, plan.digest, plan)
    return plan.digest


def load(digest: str, pipeline: str, order: tuple[str, ...]) -> Plan:
    """The plan of a dry run.

    Args:
        digest: What the dry run has shown.
        pipeline: Name of the pipeline.
        order: The order, and what of it was chosen.

    Raises:
        SelectionRefused: This machine knows no such plan, or it is one for something else.
    """
    plan = load_plan(_KIND, digest, Plan)
    if (plan.pipeline, plan.order) != (pipeline, order):
        meant = f"{' '.join(plan.order)} of {plan.pipeline}"
        raise SelectionRefused(f"plan {digest} is for: {meant}", _AGAIN)
    return plan


def _places(rows: Iterable[TaskRow]) -> list[str]:
    return sorted(f"{row.partition} {row.id} {row.generation}" for row in rows)
