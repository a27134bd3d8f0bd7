"""Plans: what a dry run has selected, kept on this machine until the action."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kafka_etl.dlq.selection import PLAN_LENGTH, Selection
from kafka_etl.errors import SelectionRefused
from kafka_etl.index_files import default_folder


class _Plan(msgspec.Struct):
    """A plan in its file."""

    topic: str
    selection: Selection


def save(plan: str, topic: str, selection: Selection) -> None:
    """Keep the letters of a plan."""
    path = _path(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(_Plan(topic, selection)))


def load(plan: str, topic: str) -> Selection:
    """The letters of a plan.

    Raises:
        SelectionRefused: This machine knows no such plan, or it is one of another topic.
    """
    try:
        if len(plan) != PLAN_LENGTH or not plan.isalnum():
            raise FileNotFoundError
        found = msgspec.json.decode(_path(plan).read_bytes(), type=_Plan)
    except (OSError, msgspec.MsgspecError) as error:
        raise SelectionRefused(
            f"this machine knows no plan {plan}", "Make one with --dry-run."
        ) from error
    if found.topic != topic:
        raise SelectionRefused(f"plan {plan} is for letters of {found.topic}, not of {topic}")
    return found.selection


def _path(plan: str) -> Path:
    return default_folder() / "plans" / f"{plan}.json"
