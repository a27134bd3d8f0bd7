"""Every folder of examples/ on real Kafka, in the way its README says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.broker import Cluster
from tests.kit.daemon import command, run_to_end

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted(path.parent.name for path in EXAMPLES.glob("*/pipeline.yaml"))

Topics = Callable[..., str]


@pytest.fixture
def topics(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Topics:
    """examples/topic.py as a command."""
    monkeypatch.setenv("KAFKA", cluster.bootstrap)

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, EXAMPLES / "topic.py", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("name", FOLDERS)
def test_what_comes_out_is_what_the_example_says(tmp_path: Path, topics: Topics, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    checked = command("validate", "pipeline.yaml", cwd=folder)
    assert "exactly_once" in checked.stdout, checked.stderr
    topics("send", source_topic(folder), folder / "input.txt")

    done = run_to_end(folder, "pipeline.yaml")

    assert done.process.returncode == 0, done.said()
    assert closing_line(folder) in done.said()
    expected = {file.stem: file.read_text() for file in (folder / "expected").iterdir()}
    assert expected, "an example says what comes out"
    found = {topic: topics("show", topic) for topic in expected}
    assert {t: lines(text) for t, text in found.items()} == {
        t: lines(text) for t, text in expected.items()
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_the_readme_shows_the_commands_and_names_the_topics(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text()
    assert "kafka-etl run pipeline.yaml --until-end" in text
    assert f"send {source_topic(EXAMPLES / name)} input.txt" in text
    for file in (EXAMPLES / name / "expected").iterdir():
        assert file.stem in text


def test_module_names_are_unique() -> None:
    """One run of the type checkers sees them all."""
    names = [path.name for path in EXAMPLES.glob("**/*.py")]
    assert len(names) == len(set(names))


def source_topic(folder: Path) -> str:
    spec = (folder / "pipeline.yaml").read_text()
    return spec.split("topics: [", 1)[1].split("]", 1)[0]


def closing_line(folder: Path) -> str:
    """What the README says the run ends with."""
    found = re.search(r"`(\d+ records in, .*)`", (folder / "README.md").read_text())
    assert found is not None
    return found[1]


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]
