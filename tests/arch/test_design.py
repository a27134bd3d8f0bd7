"""What DESIGN.md names is there: its tests, its modules, and the way of a batch."""

from __future__ import annotations

import re

import pytest

from tests.arch.source import ROOT

TEXT = (ROOT / "DESIGN.md").read_text()
TESTS = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TEXT)
FILES = re.findall(r"`((?:\w+/)*\w+\.py)`", TEXT)


def test_there_is_something_to_check() -> None:
    assert len(TESTS) > 10
    assert len(FILES) > 10


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    texts = [path.read_text() for path in (ROOT / "tests").rglob(file)]
    assert any(f"def {name}(" in text for text in texts)


@pytest.mark.parametrize("file", sorted(set(FILES)))
def test_a_file_that_is_named_exists(file: str) -> None:
    assert (ROOT / "kafka_etl" / file).exists() or list((ROOT / "tests").rglob(file))


def test_the_map_names_every_module() -> None:
    start = TEXT.index("## Where things are")
    shown = TEXT[start : TEXT.index("## Words")]
    modules = {
        path.stem if path.suffix else path.name
        for path in (ROOT / "kafka_etl").iterdir()
        if path.name[0] not in "_." and path.name != "py.typed"
    }
    assert {name for name in modules if not re.search(rf"\b{name}\b", shown)} == set()
