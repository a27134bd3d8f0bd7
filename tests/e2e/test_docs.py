"""The documentation: the site builds, what the code tells is up to date, and its code is valid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import certifi
import pytest

from tests.kit import reference_pages
from tests.kit.daemon import command
from tests.kit.pages import blocks

ROOT = Path(__file__).parents[2]
HOW_TO = sorted(path.name for path in (ROOT / "docs/how-to").glob("*.md"))
_USES = re.compile(r"\b(\w+):(\w+)\b(?=[\"'\]\n,}])")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dead letter" in (tmp_path / "searchindex.js").read_text()
    index = (tmp_path / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="https?://[^"]+\.(?:js|css)', index), "needs a network"


@pytest.mark.parametrize("name", reference_pages.pages())
def test_what_the_code_tells_is_up_to_date(name: str) -> None:
    made = "python -m tests.kit.reference_pages"
    assert (ROOT / "docs/reference" / name).read_text() == reference_pages.pages()[name], made


@pytest.mark.parametrize("name", HOW_TO)
def test_the_pipelines_of_a_how_to_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    page = f"docs/how-to/{name}"
    pipelines = [text for text in blocks(page, "yaml") if text.startswith("name:")]
    code = "\n".join(blocks(page, "python"))
    monkeypatch.setenv("KAFKA_CA", certifi.where())
    monkeypatch.setenv("KAFKA_USER", "etl")
    monkeypatch.setenv("KAFKA_PASSWORD", "secret-of-the-test")
    for number, text in enumerate(pipelines):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "pipeline.yaml").write_text(text)
        for module, function in _USES.findall(text):
            shown = re.search(rf"^(?:class|def|async def) {function}\b", code, re.MULTILINE)
            other = f"def {function}(value: dict) -> dict:\n    return value\n"
            (folder / f"{module}.py").write_text(code if shown else other)
        done = command("validate", "pipeline.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
    for text in blocks(page, "python"):
        exec(compile(text, page, "exec"), {"__name__": "page"})  # noqa: S102
