"""A pipeline file in a test's folder, and what is found wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kafka_etl.config.build import examine
from kafka_etl.config.load import load
from kafka_etl.config.parse import parse
from kafka_etl.config.report import Finding, without_echoes
from kafka_etl.plugins import PluginRegistry, importable

MARK = "»"
"""Stands in a test's YAML right before the place of an expected finding."""

BLOCKS = {
    "name": "name: orders-eur",
    "kafka": "kafka: {bootstrap.servers: localhost:9092}",
    "source": "source: {use: kafka, with: {topics: [orders], value: json}}",
    "sink": "sink: {use: kafka, with: {topic: orders-eur, value: json}}",
}

REGISTRY = PluginRegistry.installed()


def pipeline(*blocks: str) -> str:
    """A good pipeline, with these blocks in place of, or besides, its own."""
    given = {block.replace(MARK, "").partition(":")[0]: block for block in blocks}
    return "\n".join({**BLOCKS, **given}.values()) + "\n"


def without(name: str) -> str:
    """A good pipeline without one block."""
    return "\n".join(block for key, block in BLOCKS.items() if key != name) + "\n"


def places(text: str) -> list[tuple[int, int]]:
    """Line and column of every mark, counted from 1 and without the marks."""
    return [
        (number, len(line[:column].replace(MARK, "")) + 1)
        for number, line in enumerate(text.splitlines(), 1)
        for column, character in enumerate(line)
        if character == MARK
    ]


def findings_in(
    folder: Path, text: str, env: Mapping[str, str] | None = None, **overrides: str
) -> list[Finding]:
    """Everything that is wrong with this text as a pipeline file, in its order."""
    path = folder / "pipeline.yaml"
    path.write_text(text.replace(MARK, ""))
    loaded = load([path], env=env or {}, overrides=overrides)
    findings = list(loaded.findings)
    for document in loaded.documents:
        with importable(document.folder):
            examined = examine(document, REGISTRY)
        if isinstance(examined, list):
            findings += examined
    return sorted(without_echoes(findings), key=_order)


def _order(finding: Finding) -> tuple[int, int]:
    return place_of(finding) if finding.mark else (0, 0)


def place_of(finding: Finding) -> tuple[int, int]:
    assert finding.mark is not None
    return finding.mark.line, finding.mark.column


def data_of(text: str) -> object:
    parsed = parse(text)
    assert not parsed.problems
    return parsed.data
