"""Findings in pipeline files: their place, text, allowed values, and how findings are shown.

The line that a finding quotes never shows a password.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from kafka_etl.errors import Code, ConfigError
from kafka_etl.kafka.client.allowed_settings import ALLOWED
from kafka_etl.spelling import did_you_mean

_SHORT_LIST: Final = 24
_LONGEST_LINE: Final = 100
"""Characters of a line that are shown: a file may be one line of JSON."""

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
        "tests",
    ]
)
"""The sections without client settings; any other section's name may be `kafka`, misspelt."""

CLIENTS: Final = ("kafka", "consumer", "producer", "registry")

KAFKA_EXAMPLE: Final = "kafka: {bootstrap.servers: localhost:9092}"

SECRET_NAME: Final = re.compile(
    r"pass|pwd|secret|token|credential|user\.?info|jaas|auth|api.?key|private|\.pem|dsn",
    re.IGNORECASE,
)
_SECRETS: Final = ("password", "passphrase", "secret", "token", "credentials")
_NEAR: Final = 0.8
_KEY: Final = re.compile(r"([\w.-]+)[\"']?\s*:")
_LOGIN: Final = re.compile(r"://.*@")
_NO_SECRETS: Final = "|".join(
    re.escape(name)
    for name in sorted(frozenset[str]().union(*ALLOWED.values()))
    if not SECRET_NAME.search(name)
)
_VALUE: Final = r"(?:[\w.:/-]|\$\{[A-Za-z_]\w*(?::-[\w.:/-]*)?\})+"
_ENTRY: Final = rf"(?:{_NO_SECRETS})\s*:\s+[\"']?{_VALUE}[\"']?"
_HARMLESS: Final = re.compile(
    rf"(?:(?:{'|'.join(CLIENTS)})\s*:\s+\{{)?\s*{_ENTRY}(?:,\s+{_ENTRY})*\s*,?\s*\}}?\s*"
)
"""A line that holds only settings that are no secrets, with values that cannot hold a secret."""
_REFERENCE: Final = r"[\"']?\$\{(?:[A-Za-z_]\w*|file:[\w./-]+)\}[\"']?"
_REFERRING: Final = re.compile(rf"[\"']?([\w.-]+)[\"']?\s*:\s+{_REFERENCE}\s*(?=[,}}]|$)")
"""A key whose value is only a variable without a default: nothing of the value is in the file."""
_ONLY_REFERENCE: Final = re.compile(rf"\s*(?:-\s+)?{_REFERENCE}\s*")
_FIRST_WORD: Final = re.compile(r"([^\s#][^\s:]*)")

Loc = tuple[str | int, ...]
"""A place in a document: keys and list positions from the top."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A position in a file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem in one pipeline file.

    Attributes:
        code: Code of the problem: a `Code`, or the code of an error of its own.
        message: Text of the problem.
        path: Path of the file.
        loc: Place in the document.
        mark: Position in the file; None: the file could not be read, or the value at `loc` does not
            come from the file.
        source: Line of text at the mark, without passwords.
        allowed: Keys that are allowed at the place; shown if the list is short.
        hint: Advice to the user.
        override: Option that gave the value, up to its `=`; empty: the file gave the value.
    """

    code: str
    message: str
    path: Path
    loc: Loc = ()
    mark: Mark | None = None
    source: str = ""
    allowed: tuple[str, ...] = ()
    hint: str = ""
    override: str = ""

    def render(self) -> str:
        """Render the finding as several lines; the second line holds file:line:column."""
        place = f"{self.path}:{self.mark.line}:{self.mark.column}" if self.mark else str(self.path)
        if self.override:
            place = f"{self.override}, for {self.path}"
        lines = [f"error[{self.code}]: {self.message}", f"  --> {place}"]
        if self.mark and self.source.strip():
            number = str(self.mark.line)
            gutter = " " * len(number)
            text, column = _around(self.source.rstrip(), self.mark.column)
            lines.append(f" {number} | {text}")
            lines.append(f" {gutter} | {' ' * (column - 1)}^ {show_loc(self.loc)}".rstrip())
        if 0 < len(self.allowed) <= _SHORT_LIST:
            lines.append(f"  allowed here: {', '.join(self.allowed)}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def _around(line: str, column: int) -> tuple[str, int]:
    """The part of a long line around a column, and where the column is in that part."""
    begin = max(0, min(column - _LONGEST_LINE // 2, len(line) - _LONGEST_LINE))
    part = line[begin : begin + _LONGEST_LINE]
    if begin > 0:
        part = f"…{part[1:]}"
    if begin + _LONGEST_LINE < len(line):
        part = f"{part[:-1]}…"
    return part, column - begin


def show_loc(loc: Loc) -> str:
    """Show a place as text: `operators[0].with.rate`."""
    shown = ""
    for part in loc:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown


def excerpt(lines: Sequence[str], mark: Mark, loc: Loc) -> str:
    """Return the line at `mark` with possible secrets hidden; columns up to the mark stay in place.

    A value that is only a variable, without a default, is no secret. For the rest, a line among
    client settings is shown if the line holds only settings that are no secrets. Of
    any other such line, and of a line that looks as if it held a secret, only the section and the
    keys in `loc` are shown. The rest is hidden without being parsed.
    """
    if mark.line > len(lines):
        return ""
    line = lines[mark.line - 1]
    return line if _is_open(lines, mark, loc) else _covered(line, mark.column - 1, loc)


def overlap(one: Loc, other: Loc) -> bool:
    """Whether two places are the same, or one place contains the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def without_echoes(findings: Sequence[Finding]) -> list[Finding]:
    """Drop the findings that may be mere consequences of a variable that is not set."""
    unset = [(f.path, f.loc) for f in findings if f.code is Code.VARIABLE_NOT_SET]
    own_reasons = {Code.VARIABLE_NOT_SET, Code.UNKNOWN_KEY, Code.MISSING_KEY}
    return [
        f
        for f in findings
        if f.code in own_reasons or not any(f.path == p and overlap(f.loc, loc) for p, loc in unset)
    ]


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """The findings to be shown, in the order of their files and lines."""

    def place(finding: Finding) -> tuple[str, int, int]:
        mark = finding.mark or Mark(0, 0)
        return str(finding.path), mark.line, mark.column

    return sorted(without_echoes(findings), key=place)


def config_error(findings: Sequence[Finding]) -> ConfigError:
    """Make one error of all findings."""
    texts = [finding.render() for finding in in_order(findings)]
    count = f"{len(texts)} problem{'s' if len(texts) > 1 else ''} in the configuration"
    return ConfigError("\n\n".join([count, *texts]))


def _is_open(lines: Sequence[str], mark: Mark, loc: Loc) -> bool:
    """Whether the line at the mark can hold no secret."""
    line = lines[mark.line - 1]
    if _ONLY_REFERENCE.fullmatch(line):
        return True
    line, referring = _without_references(line)
    places = (part for part in loc if isinstance(part, str) and part not in referring)
    names = [*_KEY.findall(line), *places]
    if _LOGIN.search(line) or any(map(_is_secret, names)):
        return False
    above = (_FIRST_WORD.match(lines[index]) for index in range(mark.line - 1, -1, -1))
    section = next((found[1].strip("\"'") for found in above if found), "name")
    if section in OPEN:
        return not loc or loc[0] in OPEN
    if section in CLIENTS:
        return _HARMLESS.fullmatch(line) is not None and not SECRET_NAME.search(line)
    # An unknown section is shown only for a finding at its own first line, and only if its name
    # does not look like a client's section, misspelt: such a section may hold secrets.
    return (
        loc == (section,)
        and _FIRST_WORD.match(line) is not None
        and not did_you_mean(section, CLIENTS)
        and not SECRET_NAME.search(line)
        and "://" not in line
    )


def _without_references(line: str) -> tuple[str, set[str]]:
    """The line with a harmless setting in place of each that is only a variable, and their keys.

    A line with a comment stays as it is: anything may stand there. A comma ends a value only
    within braces.
    """
    keys: set[str] = set()

    def harmless(found: re.Match[str]) -> str:
        in_braces = "{" in found.string[: found.start()].replace("${", "")
        if "#" in found.string or not (in_braces or found.end() == len(found.string)):
            return found[0]
        keys.add(found[1])
        return "client.id: x"

    return _REFERRING.sub(harmless, line), keys


def _is_secret(name: str) -> bool:
    """Whether a key is one of a secret, perhaps misspelt."""
    last = name.rpartition(".")[2].lower()
    near = get_close_matches(last, _SECRETS, n=1, cutoff=_NEAR)
    return SECRET_NAME.search(name) is not None or bool(near)


def _covered(line: str, column: int, loc: Loc) -> str:
    names = "|".join(re.escape(str(part)) for part in (*CLIENTS, *loc))
    shown = re.compile(rf"(?<![\w.-])[\"']?(?:{names})[\"']?\s*:(?!\S)[\s{{]*")
    before, after = line[:column], line[column:]
    stars = re.sub(rf"({shown.pattern})|\S", lambda found: found[1] or "*", before)
    key = shown.match(after)
    rest = after[key.end() :] if key else after
    return stars + (key[0] if key else "") + ("***" if rest.strip() else "")
