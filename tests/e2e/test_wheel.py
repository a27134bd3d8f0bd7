"""What `pip install kafka-etl` brings: built as for a release, installed where nothing else is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"kafka_etl", "kafka_etl_connectors", "kafka_etl_operators"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED_BY = {
    "broker": "from kafka_etl.broker.java import find_java; find_java(); import jgo",
    "columnar": "import kafka_etl.engine.columns.tables, pyruhvro",
    "duckdb": "import kafka_etl_connectors.duckdb.store",
    "http": "import kafka_etl_connectors.http.sink",
    "mns": "import kafka_etl_connectors.mns.sink",
    "objects": "import kafka_etl_connectors.objects.bucket, pyarrow.parquet",
    "postgres": "import kafka_etl_connectors.postgres.store",
    "redis": "import kafka_etl_connectors.redis.store",
    "schema": "import kafka_etl.schema_registry.client, kafka_etl.codecs.avro.backends",
}
"""Extra -> code that needs the extra, and nothing that the wheel alone does not have."""


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
    assert {f"{name}/py.typed" for name in top if f"{name}/py.typed" in names} == {
        f"{package}/py.typed" for package in PACKAGES
    }
    assert "kafka_etl/broker/kafka.lock" in names
    assert "kafka_etl/explanations/E104.md" in names
    assert "kafka_etl/cli/templates/common/github/workflows/ci.yml" in names
    assert "kafka_etl/cli/templates/sink/my_project/py.typed" in names


def test_it_runs(installed: Path) -> None:
    assert run(installed / "kafka-etl", "--version").strip() == PROJECT["version"]


def test_every_plugin_of_ours_loads_without_an_extra(installed: Path) -> None:
    listed = run(installed / "kafka-etl", "plugins")
    assert "BROKEN" not in listed
    assert {"kafka", "stdout", "json", "filter"} <= set(listed.split())
    assert "pip install 'kafka-etl[http]'" in listed


def test_its_requirements_fit_each_other(installed: Path) -> None:
    assert "No broken requirements" in run(installed / "python", "-m", "pip", "check")


def test_it_is_built_in_the_same_way_again(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT)
    for built in tmp_path.iterdir():
        assert built.read_bytes() == (wheel.parent / built.name).read_bytes(), built.name


def test_all_that_is_public_has_a_type(tmp_path: Path) -> None:
    """As the type checkers of users see it."""
    venv = Path(sys.executable).parents[1]
    done = subprocess.run(
        [venv / "bin/pyright", "--ignoreexternal", "--outputjson", "--verifytypes", "kafka_etl"],
        cwd=tmp_path,
        env={**os.environ, "VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    public = re.compile(r"kafka_etl\.(\w+$|(contracts|errors|testing)\b)")
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    found = {one["name"]: one["isTypeKnown"] for one in symbols if public.match(one["name"])}
    assert found.keys() >= {"kafka_etl.Record", "kafka_etl.contracts.Store"}
    assert [name for name, is_known in found.items() if not is_known] == []


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_each_extra_brings_what_its_part_needs(wheel: Path, tmp_path: Path, extra: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    run(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    locked = ROOT / "requirements/test.txt"
    pip = [uv, "pip", "install", "--quiet", "--python", python]
    run(*pip, "--constraints", locked, f"{wheel}[{extra}]")
    run(python, "-c", NEEDED_BY[extra])


def test_the_bill_of_materials_names_what_is_installed(tmp_path: Path) -> None:
    locked, bill = ROOT / "requirements/run.txt", tmp_path / "bill.json"
    make = [Path(sys.executable).parent / "cyclonedx-py", "requirements", locked]
    run(*make, "--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "-o", bill)
    listed = {part["name"] for part in json.loads(bill.read_text())["components"]}
    assert listed == set(re.findall(r"^([\w.-]+)==", locked.read_text(), re.MULTILINE))


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
