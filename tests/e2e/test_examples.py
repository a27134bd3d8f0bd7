"""Every folder of examples/ on real Kafka, in the way its README says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.broker import Cluster
from tests.kit.daemon import command, run_to_end

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted(
    path.parent.name
    for path in EXAMPLES.glob("*/expected")
    if "mode: task" not in (path.parent / "pipeline.yaml").read_text()  # these have no end
)

Topics = Callable[..., str]


@pytest.fixture
def topics(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Topics:
    """The command line, for topics of the cluster."""
    monkeypatch.setenv("KAFKA", cluster.bootstrap)

    def run(*arguments: str) -> str:
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("name", FOLDERS)
def test_what_comes_out_is_what_the_example_says(tmp_path: Path, topics: Topics, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    checked = command("validate", "pipeline.yaml", cwd=folder)
    assert "exactly_once" in checked.stdout, checked.stderr
    sending = ("--key-separator", "TAB", "--create")
    topics("send", source_topic(folder), str(folder / "input.txt"), *sending)

    done = run_to_end(folder, "pipeline.yaml")

    assert done.process.returncode == 0, done.said()
    assert closing_line(folder) in done.said()
    expected = {file.stem: file.read_text() for file in (folder / "expected").iterdir()}
    assert expected, "an example says what comes out"
    dead = dead_letter_topic(folder)
    found = {t: lines(topics("show", t, "--json")) for t in expected if t != dead}
    shown = {t: [{"key": r["key"], "value": r["value"]} for r in found[t]] for t in found}
    letters = lines(topics("dlq", "show", str(folder / "pipeline.yaml"), "--json"))
    shown[dead] = sorted(map(as_expected, letters), key=lambda letter: letter["offset"])
    wanted = {topic: lines(text) for topic, text in expected.items()}
    wanted[dead] = [{**letter, "value": as_value(letter["value"])} for letter in wanted[dead]]
    assert shown == wanted


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
    return spec_of(folder).split("topics: [", 1)[1].split("]", 1)[0]


def dead_letter_topic(folder: Path) -> str:
    found = re.search(r"^dead_letter:\s*\{?\s*topic: ([\w.-]+)", spec_of(folder), re.MULTILINE)
    assert found is not None
    return found[1]


def spec_of(folder: Path) -> str:
    return (folder / "pipeline.yaml").read_text()


def as_expected(letter: dict[str, Any]) -> dict[str, Any]:
    """Of a dead letter what expected/ says."""
    offset = letter["source"]["offset"]
    return {"condition": letter["condition"], "offset": offset, "value": letter["value"]}


def as_value(text: str) -> Any:
    """JSON as the commands show it, else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def closing_line(folder: Path) -> str:
    """What the README says the run ends with."""
    found = re.search(r"`(\d+ records in, .*)`", (folder / "README.md").read_text())
    assert found is not None
    return found[1]


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]
