"""Files of plans: what a dry run has selected, kept on this machine until the action."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from kafka_etl.errors import SelectionRefused
from kafka_etl.index_files import default_folder

PLAN_LENGTH = 12
"""Characters of the name of a plan, which is a digest of the plan."""

T = TypeVar("T")


def save_plan(kind: str, plan: str, content: object) -> None:
    """Keep a plan.

    Args:
        kind: Folder of such plans.
        plan: Name of the plan.
        content: What msgspec can encode.
    """
    path = _path(kind, plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(content))


def load_plan(kind: str, plan: str, of: type[T]) -> T:
    """A plan that was kept.

    Args:
        kind: Folder of such plans.
        plan: Name of the plan.
        of: Type of its content.

    Raises:
        SelectionRefused: This machine knows no such plan.
    """
    try:
        if len(plan) != PLAN_LENGTH or not plan.isalnum():
            raise FileNotFoundError
        return msgspec.json.decode(_path(kind, plan).read_bytes(), type=of)
    except (OSError, msgspec.MsgspecError) as error:
        said = f"this machine knows no plan {plan}"
        raise SelectionRefused(said, "Make one with --dry-run.") from error


def _path(kind: str, plan: str) -> Path:
    return default_folder() / kind / f"{plan}.json"
