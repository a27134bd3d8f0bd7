"""Figures kept as JSON with what they were measured on, and the tables made from them."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import confluent_kafka

from kafka_etl.broker.jars import kafka_version
from tests.bench.bench import Result

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
PACKAGES = ("confluent-kafka", "orjson", "msgspec", "fastavro", "pyarrow", "polars")

Table = Callable[[Sequence[dict[str, Any]]], str]


def content(result: Result) -> dict[str, Any]:
    """What is kept of it."""
    return {
        "scenario": result.scenario,
        "about": result.about,
        **result.more,
        "records": result.records,
        "measured_on": surroundings(),
        "rounds": {
            name: [asdict(figures) for figures in rounds] for name, rounds in result.rounds.items()
        },
    }


def save(content: dict[str, Any], folder: Path = RESULTS) -> None:
    """One file a scenario, replaced by each run."""
    folder.mkdir(exist_ok=True)
    _file(content["scenario"], folder).write_text(json.dumps(content, indent=1) + "\n")


def surroundings() -> dict[str, str]:
    """Versions, processor and day."""
    processor = ""
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        processor = found[1] if found else ""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=RESULTS.parent,
    )
    return {
        "day": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": kafka_version(),
        **dict(_versions()),
        "processor": processor,
    }


def _versions() -> Iterable[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def kept(scenarios: Iterable[str], folder: Path = RESULTS) -> list[dict[str, Any]]:
    """What is there of these scenarios."""
    found = (_file(scenario, folder) for scenario in scenarios)
    return [json.loads(file.read_text()) for file in found if file.exists()]


def _file(scenario: str, folder: Path) -> Path:
    return folder / f"{scenario.replace('%', '')}.json"


def page_with(tables: Iterable[tuple[str, str]], page: str) -> str:
    """The page with the tables between their marks replaced."""
    for name, table in tables:
        begin, end = f"<!-- table: {name} -->\n", "<!-- end -->\n"
        before, found, rest = page.partition(begin)
        if not found:
            raise LookupError(f"no place for the table of {name} in {PAGE}")
        _, _, after = rest.partition(end)
        page = f"{before}{begin}{table}{end}{after}"
    return page
