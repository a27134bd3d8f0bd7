"""What `kafka-etl init` makes of each template: it is valid, tested, typed, and runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from kafka_etl.broker import Cluster
from tests.kit.daemon import command, run_to_end

TEMPLATES = ("kafka", "postgres", "objects", "tasks", "operator", "sink")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project of each template, by names such as `my-kafka`."""
    folder = tmp_path_factory.mktemp("projects")
    for template in TEMPLATES:
        done = command("init", f"my-{template}", "--template", template, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(projects: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A `PYTHONPATH` with the packages among the projects installed."""
    site = tmp_path_factory.mktemp("site")
    offline = ["--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    packages = [projects / "my-operator", projects / "my-sink"]
    program: list[str | Path] = [find_uv_bin(), "pip", "install", "--quiet", *offline]
    subprocess.run([*program, "--target", site, *packages], check=True)
    return str(site)


def run(folder: Path, path: str, *words: str) -> str:
    """The standard output of a Python module's command line."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def names() -> list[str]:
    return [f"my-{template}" for template in TEMPLATES]


def test_all_pass_validate_and_test(projects: Path, installed: str) -> None:
    valid = run(projects, installed, "kafka_etl", "validate", *names())
    tested = run(projects, installed, "kafka_etl", "test", *names())
    for name in names():
        assert f"{name}/pipeline.yaml: {name}: " in valid
        assert re.search(rf"^{name}/pipeline.yaml: {name}: \d passed$", tested, re.MULTILINE)


def test_all_pass_pytest_and_mypy(projects: Path, installed: str) -> None:
    tests = sorted(str(path) for path in projects.glob("*/test_*.py"))
    assert len(tests) == len(TEMPLATES)
    assert " passed" in run(projects, installed, "pytest", "-q", "-p", "no:cacheprovider", *names())
    assert "Success" in run(projects, "", "mypy", "--strict", *names())


def test_the_plugins_are_known_once_installed(projects: Path, installed: str) -> None:
    listed = run(projects, installed, "kafka_etl", "plugins")
    assert re.search(r"^sinks +my-sink +my-sink +lines of a file$", listed, re.MULTILINE)
    assert re.search(r"^operators +my-operator +my-operator +Replace fields", listed, re.MULTILINE)
    shown = run(projects, installed, "kafka_etl", "plugins", "my-sink")
    assert "guarantee: at_least_once (a set may be written again)" in shown
    assert 'path: "/tmp/orders.log"' in shown


def test_each_has_ci_a_readme_and_what_git_ignores(projects: Path) -> None:
    for name in names():
        folder = projects / name
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert not [path for path in files if re.search("my.project", path.read_text())]
        assert ".venv/" in (folder / ".gitignore").read_text()
        workflow = (folder / ".github/workflows/ci.yml").read_text()
        for line in ("validate pipeline.yaml", "test pipeline.yaml", "mypy --strict .", "pytest"):
            assert line in workflow
        shown = re.findall(r"`([\w./]+\.(?:py|yaml|toml))`", (folder / "README.md").read_text())
        assert shown
        assert [path for path in shown if not (folder / path).exists()] == []


def test_nothing_is_overwritten(projects: Path) -> None:
    again = command("init", "my-kafka", cwd=projects)
    assert (again.returncode, again.stdout) == (2, "")
    assert "nothing was written" in again.stderr
    refused = command("init", "9lives", cwd=projects)
    assert refused.returncode == 2
    assert not (projects / "9lives").exists()


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("my-kafka", "orders.jsonl", "4 records in, 2 out, 1 dropped, 1 dead letters"),
        ("my-objects", "readings.jsonl", "3 records in, 2 out, 0 dropped, 1 dead letters"),
    ],
)
def test_the_pipeline_runs(  # noqa: PLR0917 - fixtures
    projects: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    lines: str,
    said: str,
) -> None:
    folder, topic = projects / name, f"{name}-in"
    monkeypatch.setenv("KAFKA", cluster.bootstrap)
    monkeypatch.setenv("LAKE", (folder / "lake").as_uri())
    sent = command("send", topic, lines, "--create", cwd=folder)
    assert sent.returncode == 0, sent.stderr
    ran = run_to_end(folder, "pipeline.yaml", "--set", f"source.with.topics={topic}")
    assert ran.process.returncode == 0, ran.said()
    assert said in ran.said()
