"""The explanation of each error code, and its examples, which are checked as pipeline files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kafka_etl import errors
from kafka_etl.cli.explain import rendered
from kafka_etl.config.build import Pipeline, examine, same_names
from kafka_etl.config.load import load
from kafka_etl.errors import Code, KafkaEtlError
from kafka_etl.explanations import Example, explanation_of, known_codes
from kafka_etl.plugins import PluginRegistry, importable
from tests.kit.daemon import command
from tests.unit.config.project import pipeline

CLASSES = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, KafkaEtlError) and cls is not KafkaEtlError
]
EXPLAINED = [explanation_of(code) for code in known_codes()]
REGISTRY = PluginRegistry.installed()
SINK = "sink: {use: kafka, with: {topic: orders-eur}}"
COMMAND = re.compile(r"^\$ kafka-etl validate (\S+)$", re.MULTILINE)
BLOCK = re.compile(r"^[\w-]+:.*\n(?:[ \n].*\n?)*", re.MULTILINE)
FILE = re.compile(r"# (\w+\.(?:yaml|py))\n")


def files(folder: Path, parts: Sequence[Example]) -> list[Path]:
    """The pipeline files of an example, with what it leaves out."""
    given = [part for part in parts if part.language == "yaml"]
    for part in parts:
        if part.language == "python":
            (folder / file_name(part, "")).write_text(part.text)
            if not any("shop:" in other.text for other in given):
                given.append(Example("yaml", "operators: [shop:to_eur]\n"))
    paths = [folder / file_name(part, "pipeline.yaml") for part in given]
    for path, part in zip(paths, given, strict=True):
        path.write_text(pipeline(SINK, *BLOCK.findall(part.text)))
    return paths


def file_name(part: Example, default: str) -> str:
    named = FILE.match(part.text)
    return named[1] if named else default


def found(folder: Path, parts: Sequence[Example]) -> Iterator[Code]:
    """The codes of what is wrong with an example."""
    named = [path for part in parts for path in COMMAND.findall(part.text)]
    loaded = load([folder / path for path in named] or files(folder, parts), env={})
    yield from (finding.code for finding in loaded.findings)
    read = []
    for document in loaded.documents:
        with importable(document.folder):
            examined = examine(document, REGISTRY)
        if isinstance(examined, Pipeline):
            read.append((document, examined.spec))
        else:
            yield from (finding.code for finding in examined)
    yield from (finding.code for finding in same_names(read))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the folders that examples name."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "orders.yaml").write_text(pipeline())
    return tmp_path


def test_each_code_has_an_explanation_and_no_other_has_one() -> None:
    assert {*Code, *(str(cls.code) for cls in CLASSES)} == set(known_codes())


@pytest.mark.parametrize("code", known_codes())
def test_an_explanation_says_what_happens_and_what_to_do(code: str) -> None:
    explained = explanation_of(code)
    assert re.fullmatch(r"[A-Z][\w -]+", explained.title)
    assert len(explained.text) > 60
    assert explained.text.endswith(".")
    assert explained.next_step
    assert bool(explained.wrong) == bool(explained.right)


@pytest.mark.parametrize("code", Code)
def test_a_wrong_file_has_the_code_that_it_explains(code: Code, folder: Path) -> None:
    assert set(found(folder, explanation_of(code).wrong)) == {code}


@pytest.mark.parametrize("code", [e.code for e in EXPLAINED if e.right])
def test_a_right_file_has_no_problem(code: str, folder: Path) -> None:
    assert list(found(folder, explanation_of(code).right)) == []


@pytest.mark.parametrize("code", [e.code for e in EXPLAINED if e.wrong and e.code not in set(Code)])
def test_a_file_that_is_wrong_for_kafka_is_valid(code: str, folder: Path) -> None:
    assert list(found(folder, explanation_of(code).wrong)) == []


def test_examples_stand_side_by_side_where_there_is_room() -> None:
    explained = explanation_of("E104")
    wide, narrow = list(rendered(explained, 80)), list(rendered(explained, 40))
    assert "  -     valeu: json          +     value: json" in wide
    assert "  -     valeu: json" in narrow
    assert "  +     value: json" in narrow
    assert max(map(len, wide)) <= 80


@pytest.mark.parametrize("given", ["E104", "e104", "104", "error[E104]:"])
def test_a_code_is_taken_as_people_copy_it(tmp_path: Path, given: str) -> None:
    done = command("explain", given, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("E104: Unknown key\n\n")


def test_without_a_code_all_are_listed(tmp_path: Path) -> None:
    done = command("explain", cwd=tmp_path)
    listed = [line.split("  ") for line in done.stdout.splitlines()]
    assert listed == [[e.code, e.title] for e in EXPLAINED]


def test_an_unknown_code_is_told_with_the_nearest(tmp_path: Path) -> None:
    done = command("explain", "E1O4", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no error code E1O4; did you mean `E104`?" in done.stderr
