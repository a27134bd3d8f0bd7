"""What `pip install kafka-etl` brings: built as for a release, installed where nothing else is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"kafka_etl", "kafka_etl_connectors", "kafka_etl_operators"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the sdist, so that what the sdist lacks is missed here."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, in the locked versions and no extra."""
    environment = tmp_path_factory.mktemp("empty")
    run(sys.executable, "-m", "venv", environment)
    pip = [environment / "bin/python", "-m", "pip", "install", "--quiet"]
    run(*pip, "--require-hashes", "-r", ROOT / "requirements/run.txt")
    run(*pip, "--no-deps", "--no-index", wheel)
    return environment / "bin"


def test_it_holds_three_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    assert {name for name in names if name.endswith("py.typed")} == {
        f"{package}/py.typed" for package in PACKAGES
    }
    assert "kafka_etl/broker/kafka.lock" in names


def test_it_runs(installed: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert run(installed / "kafka-etl", "--version").strip() == project["version"]


def test_every_plugin_of_ours_loads_without_an_extra(installed: Path) -> None:
    listed = run(installed / "kafka-etl", "plugins")
    assert "BROKEN" not in listed
    assert {"kafka", "stdout", "json", "filter"} <= set(listed.split())


def test_its_requirements_fit_each_other(installed: Path) -> None:
    assert "No broken requirements" in run(installed / "python", "-m", "pip", "check")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
