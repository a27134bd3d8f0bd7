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
