"""The JSON Schema of pipeline files: it takes what `validate` takes, and refuses misspelt keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from kafka_etl.config.build import examine
from kafka_etl.config.load import load
from kafka_etl.config.parse import parse
from kafka_etl.config.schema import DIALECT, pipeline_schema
from kafka_etl.config.task_documents import stream_documents
from kafka_etl.errors import Code
from kafka_etl.explanations import explanation_of, known_codes
from kafka_etl.plugins import Plugin, PluginRegistry, importable
from tests.arch.source import ROOT
from tests.kit.daemon import command
from tests.unit.config.project import BLOCKS, pipeline

REGISTRY = PluginRegistry.installed()
SCHEMA = pipeline_schema(REGISTRY)
CHECK = jsonschema_rs.validator_for(SCHEMA)
EXAMPLES = sorted((ROOT / "examples").glob("*/*.yaml"))
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_HERE = {"errors.md", "package-an-operator.md", "write-your-own.md"}
"""Pages with files that are wrong on purpose, or name plug-ins that are not installed here."""

PAGES = [
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")]
    if page.name not in NOT_HERE
]


def blocks() -> Iterator[tuple[str, str]]:
    """Pipeline files and parts of some, wherever the project shows them."""
    for path in [*EXAMPLES, *(ROOT / "kafka_etl/cli/demo/files").rglob("*.yaml")]:
        yield str(path.relative_to(ROOT)), path.read_text()
    for page in PAGES:
        for number, text in enumerate(BLOCK.findall(page.read_text()), 1):
            yield f"{page.relative_to(ROOT)}[{number}]", text
    for code in known_codes():
        for number, part in enumerate(explanation_of(code).right, 1):
            if part.language == "yaml":
                yield f"{code}[{number}]", part.text


def whole(text: str) -> Any:
    """A pipeline file as data; a part of one is completed."""
    data = parse(text).data
    if not isinstance(data, dict):
        return None
    base = parse(pipeline()).data
    if data.get("mode") == "task" or "operator" in data:
        return data | {"mode": "task"}
    return base | data if set(data) & {*BLOCKS, "operators", "dead_letter", "registry"} else None


SHOWN = [(name, data) for name, text in blocks() if (data := whole(text)) is not None]


def problems(data: Any) -> list[str]:
    return [f"{list(e.instance_path)}: {e.message}" for e in CHECK.iter_errors(data)]


def test_it_is_a_schema_of_its_dialect() -> None:
    assert SCHEMA["$schema"] == DIALECT
    jsonschema_rs.meta.validate(SCHEMA)


@pytest.mark.parametrize(("name", "data"), SHOWN, ids=[name for name, _ in SHOWN])
def test_what_the_project_shows_is_valid(name: str, data: Any) -> None:
    assert problems(data) == [], name


def test_enough_is_shown() -> None:
    assert len(SHOWN) > 40


def places(data: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Places of all keys."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*at, key)
            yield from places(value, (*at, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from places(value, (*at, index))


def misspelt(data: Any, place: tuple[str | int, ...]) -> Any:
    """The data with the last letter of the key at the place doubled."""
    first, *rest = place
    if isinstance(data, list):
        return [misspelt(v, tuple(rest)) if i == first else v for i, v in enumerate(data)]
    if rest:
        return data | {first: misspelt(data[first], tuple(rest))}
    return {f"{k}{k[-1]}" if k == first else k: v for k, v in data.items()}


def _is_of_own_operator(data: Any, place: tuple[str | int, ...]) -> bool:
    """Whether a place is among the settings of a function of the example's own."""
    match place:
        case ("operators", int(index), "with", _, *_):
            return ":" in data["operators"][index]["use"]
        case ("operator", "with", _, *_):
            return ":" in data["operator"]["use"]
        case _:
            return False


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_a_key_that_validate_does_not_know_the_schema_does_not_know(path: Path) -> None:
    (document,) = load([path], env={}).documents
    data = parse(path.read_text()).data
    refused = 0
    for place in places(data):
        if _is_of_own_operator(data, place):
            continue
        wrong = misspelt(data, place)
        findings: list[Any] = []
        with importable(document.folder):
            for part in stream_documents(replace(document, data=wrong), findings):
                found = examine(part, REGISTRY)
                findings += found if isinstance(found, list) else []
        if {f.code for f in findings} & {Code.UNKNOWN_KEY, Code.KAFKA_SETTING_REFUSED}:
            refused += 1
            assert problems(wrong), place
    assert refused > 5


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ("workers: many", ["workers"]),
        ("workers: 0", ["workers"]),
        ("drain_timeout: 30", ["drain_timeout"]),
        ("guarantee: exactly-once", ["guarantee"]),
        ("sink: {use: kafka}", ["sink"]),
        ("sink: kafka", ["sink"]),
        ("sink: {use: kafak, with: {topic: a}}", ["sink", "use"]),
        ("sink: {use: kafka, with: {topic: a, value: jsn}}", ["sink", "with", "value"]),
        (
            "sink: {use: kafka, with: {topic: a, value: {use: json, with: {decimals: text}}}}",
            ["sink", "with", "value", "with"],
        ),
        ("operators: [upper]", ["operators", 0]),
        ("operators: [{use: filter, with: {were: 'true'}}]", ["operators", 0, "with"]),
        ("dead_letter: {use: http, with: {uri: 'http://a'}}", ["dead_letter", "with"]),
        ("kafka: {bootstrap.server: a}", ["kafka"]),
        ("retry: {max_attempts: 3, backof: {}}", ["retry"]),
    ],
)
def test_an_error_is_found_at_its_place(block: str, place: list[str | int]) -> None:
    found = {tuple(e.instance_path) for e in CHECK.iter_errors(parse(pipeline(block)).data)}
    assert tuple(place) in found


@pytest.mark.parametrize(
    "block",
    [
        "workers: ${WORKERS:-2}",
        "drain_timeout: ${DRAIN}",
        "drain_timeout: 0",
        "guarantee: ${GUARANTEE}",
        "sink: stdout",
        "operators: [shop:to_eur, {use: shop.parts:Fix, with: {anything: 1}}]",
        "x-common: {anything: true}",
        "source: {use: kafka, with: {topics: orders, start: 2026-05-17}}",
    ],
)
def test_what_a_file_may_write_otherwise(block: str) -> None:
    assert problems(parse(pipeline(block)).data) == []


def test_settings_are_described_with_their_defaults() -> None:
    batch = SCHEMA["$defs"]["BatchSettings"]["properties"]
    assert batch["max_bytes"]["default"] == "16MiB"
    assert batch["max_wait"]["default"] == "10ms"
    assert batch["max_records"]["description"] == "Records in a batch."
    described = [
        (name, key)
        for name, definition in SCHEMA["$defs"].items()
        for key, part in definition.get("properties", {}).items()
        if not part.get("description")
    ]
    assert described == []


def test_a_broken_plugin_takes_any_settings() -> None:
    def fail() -> Any:
        raise ImportError("no such module")

    broken = Plugin("sinks", "odd", "odd-sinks", "1.0", fail)
    check = jsonschema_rs.validator_for(pipeline_schema(PluginRegistry([*REGISTRY, broken])))
    assert check.is_valid(parse(pipeline("sink: {use: odd, with: {anything: 1}}")).data)


def test_the_command_prints_it(tmp_path: Path) -> None:
    done = command("schema", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout) == SCHEMA
