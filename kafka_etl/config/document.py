"""A pipeline file as it was read: data, and where each part of it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka_etl.config.report import Finding, Loc, Mark
from kafka_etl.errors import Code


@dataclass(frozen=True, slots=True)
class Document:
    """One pipeline file: its data, and where each part of it stands.

    Attributes:
        keys: Where the key of a place stands (for a list entry: the entry).
        values: Where its value stands.
    """

    path: Path
    data: Mapping[str, Any]
    keys: Mapping[Loc, Mark]
    values: Mapping[Loc, Mark]
    lines: Sequence[str]

    @property
    def folder(self) -> Path:
        """Where its operators' modules are looked for."""
        return self.path.resolve().parent

    def finding(  # noqa: PLR0913 - a finding has that many parts
        self,
        code: Code,
        message: str,
        loc: Loc = (),
        *,
        at_key: bool = False,
        allowed: Iterable[str] = (),
        hint: str = "",
    ) -> Finding:
        """A finding at `loc`, or at the nearest enclosing place that stands in the file."""
        mark = self._mark(loc, at_key=at_key)
        source = self.lines[mark.line - 1] if mark.line <= len(self.lines) else ""
        return Finding(code, message, self.path, loc, mark, source, tuple(allowed), hint)

    def _mark(self, loc: Loc, *, at_key: bool) -> Mark:
        marks = self.keys if at_key else self.values
        while loc and loc not in marks:
            loc, marks = loc[:-1], self.keys
        return marks.get(loc, Mark(1, 1))
