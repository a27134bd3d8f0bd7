"""The line of a file that a finding quotes: never with a password."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kafka_etl.config.report import Loc, Mark

OPEN: Final = frozenset(
    [
        "name",
        "source",
        "operators",
        "sink",
        "guarantee",
        "retry",
        "dead_letter",
        "workers",
        "drain_timeout",
    ]
)
"""Sections without settings of clients. Any other word may be `kafka`, misspelt."""

CLIENTS: Final = ("kafka", "consumer", "producer", "registry")

_SECRET: Final = re.compile(
    r"pass|pwd|secret|token|credential|user\.?info|jaas|auth|api.?key|private|\.pem|dsn",
    re.IGNORECASE,
)
_KEY: Final = re.compile(r"([\w.-]+)[\"']?\s*:")
_LOGIN: Final = re.compile(r"://.*@")
_FIRST_WORD: Final = re.compile(r"([^\s#][^\s:]*)")


def excerpt(lines: Sequence[str], mark: Mark, loc: Loc) -> str:
    """The line at `mark`, every column where it was before the mark.

    Where clients' settings stand, and beside anything that looks secret, no more is shown than
    the section and the keys that `loc` has itself: what else stands there need not be understood
    to be hidden.
    """
    if mark.line > len(lines):
        return ""
    line = lines[mark.line - 1]
    return line if _is_open(lines, mark, loc) else _covered(line, mark.column - 1, loc)


def _is_open(lines: Sequence[str], mark: Mark, loc: Loc) -> bool:
    line = lines[mark.line - 1]
    above = (_FIRST_WORD.match(lines[index]) for index in range(mark.line - 1, -1, -1))
    section = next((found[1].strip("\"'") for found in above if found), "name")
    if section not in OPEN or (loc and loc[0] not in OPEN):
        return False
    names = [*_KEY.findall(line), *(part for part in loc if isinstance(part, str))]
    return not (_LOGIN.search(line) or any(_SECRET.search(name) for name in names))


def _covered(line: str, column: int, loc: Loc) -> str:
    names = "|".join(re.escape(str(part)) for part in (*CLIENTS, *loc))
    shown = re.compile(rf"(?<![\w.-])[\"']?(?:{names})[\"']?\s*:(?!\S)[\s{{]*")
    before, after = line[:column], line[column:]
    stars = re.sub(rf"({shown.pattern})|\S", lambda found: found[1] or "*", before)
    key = shown.match(after)
    rest = after[key.end() :] if key else after
    return stars + (key[0] if key else "") + ("***" if rest.strip() else "")
