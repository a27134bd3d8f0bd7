"""Figures kept as JSON with what they were measured on, and the table made from them."""

from __future__ import annotations

import json
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import confluent_kafka

from kafka_etl.broker.jars import kafka_version
from tests.bench.bench import Result
from tests.bench.measure import Figures

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MARKS = "<!-- table: values -->\n", "<!-- end -->\n"


def save(result: Result, folder: Path = RESULTS) -> None:
    """One file a scenario, replaced by each run."""
    folder.mkdir(exist_ok=True)
    content = {
        "scenario": result.scenario.name,
        "about": result.scenario.about,
        "wanted_cpu": result.scenario.cpu,
        "records": result.records,
        "rounds": len(result.ours),
        "measured_on": surroundings(),
        **{name: [asdict(f) for f in getattr(result, name)] for name in ("ours", "loop", "again")},
    }
    file = folder / f"{result.scenario.name.replace('%', '')}.json"
    file.write_text(json.dumps(content, indent=1) + "\n")


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
        "confluent-kafka": version("confluent-kafka"),
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": kafka_version(),
        "orjson": version("orjson"),
        "msgspec": version("msgspec"),
        "processor": processor,
    }


def table(folder: Path = RESULTS) -> str:
    """The table of the documentation, from what is kept."""
    rows = [
        "| scenario | records/s | CPU us | CPU to the loop's | rate to the loop's | A/A | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    kept = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    for result in kept:
        ours, loop, again = (
            [Figures(**figures) for figures in result[name]] for name in ("ours", "loop", "again")
        )
        rows.append(
            f"| {result['scenario']}: {result['about']} "
            f"| {statistics.median(f.rate for f in ours):,.0f} "
            f"| {statistics.median(f.cpu for f in ours):.2f} "
            f"| {_ratio(ours, loop, _cpu)} | {_ratio(ours, loop, _rate)} "
            f"| {_ratio(again, loop, _cpu)} | {max(f.rss for f in ours):.0f} |"
        )
    return "\n".join(rows) + "\n"


def page_with(table_text: str, page: str) -> str:
    """The page with its table replaced."""
    begin, end = MARKS
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{table_text}{end}{after}"


def _cpu(figures: Figures) -> float:
    return figures.cpu


def _rate(figures: Figures) -> float:
    return figures.rate


def _ratio(ours: Sequence[Figures], loop: Sequence[Figures], of: Callable[[Figures], float]) -> str:
    """Median of the ratios round by round, and their spread: rounds saw the same weather."""
    ratios = [of(a) / of(b) for a, b in zip(ours, loop, strict=True) if of(a) and of(b)]
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def rewrite_page() -> None:
    PAGE.write_text(page_with(table(), PAGE.read_text()))
