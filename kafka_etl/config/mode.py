"""The key `mode`, by which a pipeline file is read as one of tasks."""

from __future__ import annotations

from typing import Final

from kafka_etl.config.document import Document
from kafka_etl.config.report import Finding
from kafka_etl.errors import Code
from kafka_etl.spelling import did_you_mean

TASK: Final = "task"
_OF_TASKS: Final = ("on_success", "on_failure")


def mode_finding(document: Document) -> Finding | None:
    """Find a misspelt or missing `mode`, for which every other key would be a finding."""
    mode = document.data.get("mode", TASK)
    if mode != TASK:
        near = did_you_mean(str(mode), [TASK])
        hint = near or "leave it out of a pipeline with `operators` and `sink`"
        return document.finding(
            Code.INVALID_VALUE, f"`mode` should be {TASK}", ("mode",), hint=hint
        )
    key = next((key for key in _OF_TASKS if key in document.data), None)
    if key is None or "mode" in document.data:
        return None
    return document.finding(
        Code.MISSING_KEY,
        f"`mode` is missing: `{key}` is for tasks",
        (key,),
        at_key=True,
        hint=f"add `mode: {TASK}`, or write the outputs to a `sink`",
    )
