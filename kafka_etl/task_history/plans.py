"""Plans: the tasks that a dry run has selected, kept on this machine until the order is given.

The words of the order name the generations that the dry run has seen: a task that was begun anew
since is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from kafka_etl.errors import SelectionRefused
from kafka_etl.index_files import default_folder
from kafka_etl.task_history.rows import TaskRow

_LENGTH: Final = 12
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
        return digest.hexdigest()[:_LENGTH]


def save(plan: Plan) -> str:
    """Keep a plan; returns its digest."""
    path = _path(plan.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(plan))
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
    try:
        if len(digest) != _LENGTH or not digest.isalnum():
            raise FileNotFoundError
        plan = msgspec.json.decode(_path(digest).read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError) as error:
        said = f"this machine knows no plan {digest}"
        raise SelectionRefused(said, "Make one with --dry-run.") from error
    if (plan.pipeline, plan.order) != (pipeline, order):
        meant = f"{' '.join(plan.order)} of {plan.pipeline}"
        raise SelectionRefused(f"plan {digest} is for: {meant}", _AGAIN)
    return plan


def _places(rows: Iterable[TaskRow]) -> list[str]:
    return sorted(f"{row.partition} {row.id} {row.generation}" for row in rows)


def _path(digest: str) -> Path:
    return default_folder() / "task-plans" / f"{digest}.json"
