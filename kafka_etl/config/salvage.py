"""Extracts the valid part of a pipeline file with mistakes, so that one run finds further ones."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from kafka_etl.config.check import check
from kafka_etl.config.document import Document
from kafka_etl.config.model import PipelineSpec
from kafka_etl.config.report import Finding, Loc


def sound_part(
    document: Document, data: Mapping[str, Any], findings: Sequence[Finding]
) -> PipelineSpec | None:
    """Return the model of a file without the places of its findings; None: nothing valid is left.

    Args:
        document: The file.
        data: The file's data.
        findings: Findings of the data.
    """
    sound = reduce(_without, (finding.loc for finding in findings if finding.loc), data)
    spec = check(PipelineSpec, {"name": "unnamed", **sound}, document)
    if isinstance(spec, PipelineSpec):
        return spec
    return None if sound == data else sound_part(document, sound, spec)


def _without(data: Any, loc: Loc) -> Any:
    """Copy `data` without the entry at `loc`, or without the whole list that holds the entry."""
    while isinstance(loc[-1], int):
        loc = loc[:-1]
    first, *rest = loc
    copy: Any = data.copy()
    with contextlib.suppress(LookupError):  # an earlier finding removed the entry
        if rest:
            copy[first] = _without(copy[first], tuple(rest))
        else:
            del copy[first]
    return copy
