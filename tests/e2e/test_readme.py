"""The commands and files of the README and the tutorial, as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.console import Command, commands
from tests.kit.daemon import command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
PAGES = [README, TUTORIAL, (ROOT / "docs/columns.md").read_text()]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w/]+\.(?:yaml|py))`:\s*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "=#=#= "


def write_files(folder: Path) -> None:
    """The files that the pages show, by the names that they give them."""
    for name, text in (found for page in PAGES for found in FILE.findall(page)):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def script(listed: list[Command]) -> str:
    """One shell session; what a reader waits for is waited for."""
    lines = []
    for number, step in enumerate(listed):
        lines += [f"echo '{MARK}{number}'", step.line]
        if step.line.startswith("kafka-etl status"):
            look = f"{step.line} > shown; cat shown; grep -q running shown"
            lines[-1] = f"until {look}; do sleep 0.2; done"
        if step.line == "kill %1":
            lines[-1] = "kill %1 && wait %1"
        if not step.line.endswith("&"):
            lines.append(f"echo '{MARK}{number} status' $?")
    return "\n".join(lines)


def test_the_first_pipeline_works_as_written(tmp_path: Path) -> None:
    write_files(tmp_path)
    venv = tmp_path / ".venv"
    venv.mkdir()
    (venv / "bin").symlink_to(Path(sys.executable).parent)
    listed = commands(TUTORIAL)
    assert len(listed) >= 12
    done = subprocess.run(
        ["bash", "-c", script(listed)],
        cwd=tmp_path,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "dumb"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    parts = re.split(rf"^{MARK}(\d+)\n", done.stdout, flags=re.MULTILINE)
    outputs = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    for number, shown in enumerate(listed):
        output = outputs[number]
        assert shown.missing(output) == [], f"{shown.line}\n{output}"
        if not shown.line.endswith("&"):
            assert f"{MARK}{number} status 0" in output, f"{shown.line}\n{output}"


def test_make_has_what_the_readme_names() -> None:
    for target in re.findall(r"^make ([\w-]+)$", README, re.MULTILINE):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "DESIGN.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Those of the other pages are checked as the site is built."""
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_the_pipeline_at_the_top_is_valid(tmp_path: Path) -> None:
    blocks = BLOCK.findall(README)
    for kind, name in (("yaml", "pipeline.yaml"), ("python", "shop.py")):
        text = next(text for language, text in blocks if language == kind)
        (tmp_path / name).write_text(text)
    command("validate", "pipeline.yaml", cwd=tmp_path).check_returncode()


def test_the_files_it_shows_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path)
    folders = sorted(path.parent.name for path in tmp_path.glob("*/pipeline.yaml"))
    assert folders == ["columns", "films", "first", "warehouse"]
    monkeypatch.setenv("PGPASSWORD", "secret")
    command("validate", *folders, cwd=tmp_path).check_returncode()
