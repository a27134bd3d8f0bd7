"""Plans: what a dry run has selected, kept on this machine until the action."""

from __future__ import annotations

from typing import Final

import msgspec

from kafka_etl.dlq.selection import Selection
from kafka_etl.errors import SelectionRefused
from kafka_etl.plan_files import load_plan, save_plan

_KIND: Final = "plans"


class _Plan(msgspec.Struct):
    """A plan in its file."""

    topic: str
    selection: Selection


def save(plan: str, topic: str, selection: Selection) -> None:
    """Keep the letters of a plan."""
    save_plan(_KIND, plan, _Plan(topic, selection))


def load(plan: str, topic: str) -> Selection:
    """The letters of a plan.

    Raises:
        SelectionRefused: This machine knows no such plan, or it is one of another topic.
    """
    found = load_plan(_KIND, plan, _Plan)
    if found.topic != topic:
        raise SelectionRefused(f"plan {plan} is for letters of {found.topic}, not of {topic}")
    return found.selection
