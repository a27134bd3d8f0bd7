"""The code blocks of a documentation page, which the tests run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in a language, in order; `page` is a path in the repository."""
    text = (ROOT / page).read_text()
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def named_settings(page: str, end: str = "##") -> set[str]:
    """Names in the first column of the tables below `## Settings`, up to the next heading."""
    table = (ROOT / page).read_text().split("## Settings")[1].split(end)[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
