"""The code blocks of a documentation page, which the tests run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = sorted(
    str(path.relative_to(ROOT))
    for path in [
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
        *(ROOT / name / "README.md" for name in ("deploy", "examples", "requirements")),
        *ROOT.glob("examples/*/README.md"),
    ]
)
"""All pages of the site, and the README, as paths in the repository."""
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^ *```(.*)\n((?:.*\n)*?) *```$", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`(kafka-etl [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: Path in the repository.
        line: Line of the fence above the block, from 1 on.
        language: Word behind the fence, or none.
        text: What stands between the fences.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def fenced(page: str) -> Iterator[Block]:
    """All blocks of a page, in whatever language."""
    text = (ROOT / page).read_text()
    for found in FENCED.finditer(text):
        language = (found[1].split() or [""])[0]
        yield Block(page, text.count("\n", 0, found.start()) + 1, language, found[2])


def commands_in_text(page: str) -> list[str]:
    """The commands that stand in the sentences of a page."""
    text = FENCED.sub("", (ROOT / page).read_text())
    return [" ".join(line.split()) for line in _INLINE.findall(text)]


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in a language, in order; `page` is a path in the repository."""
    text = (ROOT / page).read_text()
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def named_settings(page: str, end: str = "##") -> set[str]:
    """Names in the first column of the tables below `## Settings`, up to the next heading."""
    table = (ROOT / page).read_text().split("## Settings")[1].split(end)[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
