"""Findings in pipeline files: where, what, what is allowed, and how they are shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafka_etl.errors import Code, ConfigError

_SHORT_LIST: Final = 24

Loc = tuple[str | int, ...]
"""A place in a document: keys and list positions from the top."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A position in a file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem in one file.

    Attributes:
        loc: Where in the document.
        mark: Where in the file; None when the file could not be read at all.
        source: The line of text at the mark, without passwords.
        allowed: What could stand there; shown if that is a short list.
        hint: What to do.
    """

    code: Code
    message: str
    path: Path
    loc: Loc = ()
    mark: Mark | None = None
    source: str = ""
    allowed: tuple[str, ...] = ()
    hint: str = ""

    def render(self) -> str:
        """Several lines for a reader; the second begins with file:line:column."""
        place = f"{self.path}:{self.mark.line}:{self.mark.column}" if self.mark else str(self.path)
        lines = [f"error[{self.code}]: {self.message}", f"  --> {place}"]
        if self.mark and self.source.strip():
            number = str(self.mark.line)
            gutter = " " * len(number)
            lines.append(f" {number} | {self.source.rstrip()}")
            lines.append(
                f" {gutter} | {' ' * (self.mark.column - 1)}^ {show_loc(self.loc)}".rstrip()
            )
        if 0 < len(self.allowed) <= _SHORT_LIST:
            lines.append(f"  allowed here: {', '.join(self.allowed)}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def show_loc(loc: Loc) -> str:
    """`operators[0].with.rate`."""
    shown = ""
    for part in loc:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""


def overlap(one: Loc, other: Loc) -> bool:
    """Whether they are the same place, or one holds the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def without_echoes(findings: Sequence[Finding]) -> list[Finding]:
    """Without what may only follow from a variable that is not set."""
    unset = [(f.path, f.loc) for f in findings if f.code is Code.VARIABLE_NOT_SET]
    own_reasons = {Code.VARIABLE_NOT_SET, Code.UNKNOWN_KEY, Code.MISSING_KEY}
    return [
        f
        for f in findings
        if f.code in own_reasons or not any(f.path == p and overlap(f.loc, loc) for p, loc in unset)
    ]


def config_error(findings: Sequence[Finding]) -> ConfigError:
    """All findings as one error, in the order of their files and lines."""

    def place(finding: Finding) -> tuple[str, int, int]:
        mark = finding.mark or Mark(0, 0)
        return str(finding.path), mark.line, mark.column

    texts = [finding.render() for finding in sorted(without_echoes(findings), key=place)]
    count = f"{len(texts)} problem{'s' if len(texts) > 1 else ''} in the configuration"
    return ConfigError("\n\n".join([count, *texts]))
