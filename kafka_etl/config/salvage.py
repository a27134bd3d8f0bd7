"""What is sound of a pipeline file that has mistakes: so one look finds those behind them, too."""

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
    """The pipeline without what is wrong with its file, so that one run names the rest, too."""
    sound = reduce(_without, (finding.loc for finding in findings if finding.loc), data)
    spec = check(PipelineSpec, {"name": "unnamed", **sound}, document)
    if isinstance(spec, PipelineSpec):
        return spec
    return None if sound == data else sound_part(document, sound, spec)


def _without(data: Any, loc: Loc) -> Any:
    """`data` without the entry at `loc`, or without the list it stands in."""
    while isinstance(loc[-1], int):
        loc = loc[:-1]
    first, *rest = loc
    copy: Any = data.copy()
    with contextlib.suppress(LookupError):  # it has gone with what held it
        if rest:
            copy[first] = _without(copy[first], tuple(rest))
        else:
            del copy[first]
    return copy
