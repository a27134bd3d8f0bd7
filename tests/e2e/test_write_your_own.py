"""Pages that lead to a package of a reader's own, done as they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.kit.pages import ROOT, blocks

SINK = "docs/sinks/write-your-own.md"
OPERATOR = "docs/how-to/package-an-operator.md"
FILE = re.compile(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment that sees everything of this one; its `bin`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    # `addsitedir` also follows the paths that this environment has in files like this one.
    everything = sysconfig.get_path("purelib")
    (site / "all.pth").write_text(f"import site; site.addsitedir({everything!r})\n")
    bin_folder = tmp_path / "venv/bin"
    for name, module in (("pytest", "pytest"), ("kafka-etl", "kafka_etl")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec "{bin_folder}/python" -m {module} "$@"\n')
        script.chmod(0o755)
    return bin_folder


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (
            SINK,
            [
                "pyproject.toml",
                "acme_tail/__init__.py",
                "tests/test_tail.py",
                "pipeline.yaml",
                "acme_tail/sets.py",
                "tests/test_sets.py",
                "acme_tail/stored.py",
                "tests/test_stored.py",
            ],
        ),
        (
            OPERATOR,
            ["pyproject.toml", "acme_mask/__init__.py", "tests/test_mask.py", "pipeline.yaml"],
        ),
    ],
)
def test_the_page_leads_to_a_package_that_works(
    tmp_path: Path, environment: Path, page: str, names: list[str]
) -> None:
    package = tmp_path / "acme"
    shown = FILE.findall((ROOT / page).read_text())
    assert [name for name, _ in shown] == names
    for name, text in shown:
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    assert lines[0] == "$ pip install -e ."
    offline = ["--offline", "--no-deps", "--no-build-isolation"]
    into = ["--python", environment / "python", *offline]
    run(package, environment, find_uv_bin(), "pip", "install", *into, "-e", ".")
    said = ""
    for line in lines[1:]:
        if line.startswith("$ "):
            program, *arguments = line.removeprefix("$ ").split()
            said = run(package, environment, environment / program, *arguments)
        else:
            expected = re.escape(line).replace(r"\.\.\.", ".*")
            assert re.search(re.sub(r"(\\ )+", r"\\s+", expected), said), said


def run(folder: Path, environment: Path, *command: str | Path) -> str:
    env = {**os.environ, "PATH": f"{environment}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
