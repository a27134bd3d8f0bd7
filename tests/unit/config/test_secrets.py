"""What variables hold stays out of every message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.project import findings_in, pipeline

SECRET = "hunter2-and-more"  # noqa: S105 - not one
OPS = """
class Connects:
    def __init__(self, *, url: str) -> None:
        raise ConnectionError(f"cannot reach {url!r}")

    def __call__(self, order: dict) -> dict: ...
"""

BLOCKS = [
    "name: '${SECRET} x'",
    "workers: '${SECRET}'",
    "drain_timeout: '${SECRET}'",
    "guarantee: '${SECRET}'",
    "retry: {backoff: {jitter: '${SECRET}'}}",
    "retry: {never: ['${SECRET}']}",
    "retry: {never: ['${SECRET}:x']}",
    "dead_letter: {topic: '${SECRET} x'}",
    "source: '${SECRET}'",
    "source: {use: kafka, with: {topics: ['^(${SECRET}']}}",
    "source: {use: kafka, with: {topics: [a], value: '${SECRET}'}}",
    "source: {use: kafka, with: {topics: [a], start: '${SECRET}'}}",
    "source: {use: kafka, with: {topics: [a], batch: '${SECRET}'}}",
    "source: {use: kafka, with: {topics: [&t '${SECRET}']}}\nsink: {use: kafka, with: {topic: *t}}",
    "operators: ['${SECRET}:f']",
    "operators: ['ops:${SECRET}']",
    "operators: [{use: filter, with: {where: 'value == ${SECRET}'}}]",
    'operators: [{use: filter, with: {where: "value == \'${SECRET}"}}]',
    "operators: [{use: fields, with: {keep: '${SECRET}'}}]",
    "operators: [{use: 'ops:Connects', with: {url: 'http://me:${SECRET}@db'}}]",
    "kafka: {sasl.password: ['${SECRET}'], bootstrap.servers: x}",
    "kafka: {sasl.passwort: '${SECRET}', bootstrap.servers: x}",
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("variable", ["${SECRET}", "${file:secret}"])
def test_a_secret_stays_out_of_every_finding(tmp_path: Path, block: str, variable: str) -> None:
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "secret").write_text(SECRET + "\n")
    text = pipeline(*block.replace("${SECRET}", variable).split("\n"))
    findings = findings_in(tmp_path, text, {"SECRET": SECRET})
    assert findings
    for finding in findings:
        assert SECRET not in finding.render()


def test_the_variable_stands_where_its_value_would(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, pipeline("sink: '${SINK}'"), {"SINK": "postgres"})
    assert finding.message == "there is no sink called `${SINK}`; installed: kafka, stdout"


def test_a_secret_that_begins_another_leaves_nothing_of_it(tmp_path: Path) -> None:
    text = pipeline("name: '${LONG}'", "sink: '${SHORT}'", "source: '${LONG}'")
    env = {"SHORT": "password", "LONG": "password-and-more"}
    for finding in findings_in(tmp_path, text, env):
        assert "and-more" not in finding.render()


def test_what_the_file_itself_says_is_shown(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, pipeline("sink: '${SINK:-postgres}'"))
    assert "`postgres`" in finding.message
