"""docs/how-to/route.md, done as it says: its pipelines pass the tests that they hold."""

from __future__ import annotations

import re
from pathlib import Path

from tests.kit.console import Command, Console, commands
from tests.kit.pages import ROOT

PAGE = (ROOT / "docs/how-to/route.md").read_text()
FILES = re.findall(r"`([\w.-]+)`[^`\n]*:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    assert [name for name, _ in FILES] == ["by-region.yaml", "routing.py", "by-size.yaml"]
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    with Console(tmp_path, {}) as console:
        console.play(commands(PAGE))
        console.play([Command("mypy --strict routing.py", ["Success"])])
