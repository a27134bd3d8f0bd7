"""A pipeline file as it was read: data, and where each part of it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka_etl.config.report import Finding, Loc, Mark, excerpt
from kafka_etl.errors import Code


@dataclass(frozen=True, slots=True)
class Document:
    """One pipeline file: its data, and where each part of it stands.

    Attributes:
        keys: Where the key of a place stands (for a list entry: the entry).
        values: Where its value stands.
        overridden: Places whose value comes from `--set`.
        secrets: What variables hold -> the variable as it is written; findings show the latter.
    """

    path: Path
    data: Mapping[str, Any]
    keys: Mapping[Loc, Mark]
    values: Mapping[Loc, Mark]
    lines: Sequence[str]
    overridden: Sequence[Loc] = ()
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])

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
        override = self._override_of(loc)
        mark = None if override else self._mark(loc, at_key=at_key)
        return Finding(
            code,
            self._without_secrets(message),
            self.path,
            loc,
            mark,
            excerpt(self.lines, mark, loc) if mark else "",
            tuple(allowed),
            self._without_secrets(hint),
            override,
        )

    def _override_of(self, loc: Loc) -> str:
        """The option `--set` that gave what stands at `loc`, or the part of it that is unknown."""
        for place in self.overridden:
            given = loc[: len(place)] == place
            made = place[: len(loc)] == loc and loc not in self.keys
            if given or made:
                return f"--set {'.'.join(map(str, place))}"
        return ""

    def _mark(self, loc: Loc, *, at_key: bool) -> Mark:
        marks = self.keys if at_key else self.values
        while loc and loc not in marks:
            # A bare string is short for `use`: its value stands for both.
            marks = self.values if loc[-1] == "use" else self.keys
            loc = loc[:-1]
        return marks.get(loc, Mark(1, 1))

    def _without_secrets(self, text: str) -> str:
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, self.secrets[secret])
        return text
