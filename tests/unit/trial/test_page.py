"""docs/testing.md, done as it says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.kit.console import Console, commands
from tests.kit.pages import ROOT

PAGE = (ROOT / "docs/testing.md").read_text()
FILES = re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WRONG = re.findall(r"^```yaml\n(tests:.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FAILS = re.compile(r"^```console fails\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    assert [name for name, _ in FILES] == ["pipeline.yaml", "shop.py", "test_shop.py"]
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    with Console(tmp_path, {}) as console:
        console.play(commands(FAILS.sub("", PAGE)))
        (tmp_path / "pipeline.tests.yaml").write_text(*WRONG)
        (failing,) = FAILS.findall(PAGE)
        (command,) = commands(f"```console\n{failing}```")
        command.line += "; test $? = 1"
        console.play([command])
    assert (tmp_path / "results.xml").read_text().count("<testcase") == 1
