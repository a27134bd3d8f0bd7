"""A pipeline file as it was read: its data, and the position of each part in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka_etl.config.report import Finding, Loc, Mark, excerpt


@dataclass(frozen=True, slots=True)
class Document:
    """One pipeline file: its data, and the position of each part in the file.

    Attributes:
        path: Path of the file.
        data: Content of the file as plain data, with overrides and variables applied.
        keys: Place -> position of the place's key, or of the entry in a list.
        values: Place -> position of the place's value.
        lines: Lines of the file's text.
        overridden: Places whose value comes from `--set`.
        secrets: Value of a variable -> the variable as written in the file; findings show the
            variable instead of its value.
        places: (place in `data`, place in the file) of parts that the file has elsewhere; the first
            that fits counts.
    """

    path: Path
    data: Mapping[str, Any]
    keys: Mapping[Loc, Mark]
    values: Mapping[Loc, Mark]
    lines: Sequence[str]
    overridden: Sequence[Loc] = ()
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    places: Sequence[tuple[Loc, Loc]] = ()

    @property
    def folder(self) -> Path:
        """The folder of the file, from which operators' modules are imported."""
        return self.path.resolve().parent

    def finding(  # noqa: PLR0913 - a finding has that many parts
        self,
        code: str,
        message: str,
        loc: Loc = (),
        *,
        at_key: bool = False,
        allowed: Iterable[str] = (),
        hint: str = "",
    ) -> Finding:
        """Make a finding at `loc`, or at the nearest enclosing place that the file contains.

        Args:
            code: Code of the finding.
            message: Text of the finding.
            loc: Place in the document.
            at_key: Whether the finding points at the key rather than the value.
            allowed: Keys that are allowed at the place.
            hint: Advice to the user.
        """
        loc = self._in_file(loc)
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

    def _in_file(self, loc: Loc) -> Loc:
        for place, there in self.places:
            if loc[: len(place)] == place:
                return (*there, *loc[len(place) :])
        return loc

    def _override_of(self, loc: Loc) -> str:
        """Return the option `--set` that gave the data at `loc`; empty: the data is in the file."""
        for place in self.overridden:
            given = loc[: len(place)] == place
            made = place[: len(loc)] == loc and loc not in self.keys
            if given or made:
                return f"--set {'.'.join(map(str, place))}"
        return ""

    def _mark(self, loc: Loc, *, at_key: bool) -> Mark:
        marks = self.keys if at_key else self.values
        while loc and loc not in marks:
            # A bare string is short for `use: …`: the position of the string serves for both.
            marks = self.values if loc[-1] == "use" else self.keys
            loc = loc[:-1]
        return marks.get(loc, Mark(1, 1))

    def _without_secrets(self, text: str) -> str:
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, self.secrets[secret])
        return text
