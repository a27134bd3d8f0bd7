"""The lock files: they hold what pyproject.toml asks for, agree, and name no machine."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.arch.source import ROOT

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN = PYPROJECT["project"]["dependencies"]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
BROKER = EXTRAS["broker"]
GROUPS = PYPROJECT["dependency-groups"]
WANTED = {
    "run": RUN,
    "build": GROUPS["build"],
    "demo": RUN + BROKER,
    "test": RUN
    + [r for extra in EXTRAS.values() for r in extra]
    + GROUPS["build"]
    + [r for r in GROUPS["dev"] if isinstance(r, str)],
}


def locked(name: str) -> dict[str, str]:
    """Package -> version."""
    text = (ROOT / f"requirements/{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_holds_what_is_wanted(name: str) -> None:
    """Else: `make lock`."""
    versions = locked(name)
    for requirement in map(Requirement, WANTED[name]):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"


@pytest.mark.parametrize("name", WANTED)
def test_versions_are_the_same_everywhere(name: str) -> None:
    assert locked(name).items() <= locked("test").items()


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_is_exact_and_names_no_machine(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    whole = text.replace("\\\n", "").splitlines()
    assert [line for line in whole if not _is_exact(line)] == []


def _is_exact(line: str) -> bool:
    return bool(
        re.fullmatch(r"[a-z0-9-]+==[0-9.a-z]+( ; [^/:]+)?( +--hash=sha256:[0-9a-f]{64})+", line)
    )


def test_what_is_locked_can_be_built_with() -> None:
    """The backend's own requirement is one of pyproject's two; they must not part."""
    assert list(_names(PYPROJECT["build-system"]["requires"])) == ["hatchling"]
    assert "hatchling" in locked("build")


def _names(requirements: list[str]) -> Iterator[str]:
    return (canonicalize_name(Requirement(text).name) for text in requirements)
