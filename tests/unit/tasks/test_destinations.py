"""Destinations of tasks in a file: the pipelines that are made of them, and what is wrong where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.config.build import Pipeline, examine
from kafka_etl.config.document import Document
from kafka_etl.config.load import load
from kafka_etl.config.report import Finding, show_loc
from kafka_etl.config.task_documents import all_documents, stream_documents
from kafka_etl.kafka.tasks.settings import TaskInboxSettings
from kafka_etl.plugins import PluginRegistry, importable
from kafka_etl.tasks.states import State

BEGIN = """\
name: shop
mode: task
kafka: {bootstrap.servers: "localhost:9092"}
source: {use: kafka, with: {topics: [jobs], value: json}}
operator: "ops:work"
"""
MNS = "with: {endpoint: 'http://127.0.0.1', access_key_id: a, access_key_secret: b, queue: q"
BOTH = f"""\
on_success:
  - {{use: kafka, with: {{topic: out}}}}
  - {{use: kafka, with: {{topic: more, value: text, create: {{partitions: 3}}}}}}
  - {{use: sqlite, with: {{path: out.db, table: results}}}}
  - {{use: mns, {MNS}, format: envelope}}}}
on_failure:
  - {{topic: failed, format: envelope, when: [Failed]}}
  - {{use: mns, name: night, {MNS}, format: envelope}}}}
"""
OBJECTS = "- {use: objects, with: {url: 'file:///tmp/out', format: jsonl}}\n"
ONE = "on_failure: {topic: failed}\n"


def documents(tmp_path: Path, text: str) -> list[Document] | list[Finding]:
    (tmp_path / "p.yaml").write_text(BEGIN + text)
    (tmp_path / "ops.py").write_text("def work(task: dict) -> dict:\n    return task\n")
    (document,) = load([tmp_path / "p.yaml"], env=os.environ).documents
    findings: list[Finding] = []
    found = all_documents(document, findings)
    return findings or found


def by_name(tmp_path: Path, text: str) -> dict[str, Document]:
    found = documents(tmp_path, text)
    return {d.data["name"]: d for d in found if isinstance(d, Document)}


def problems(tmp_path: Path, text: str) -> list[tuple[str, int, str]]:
    """(place, line, message) of each finding."""
    findings: list[Finding] = []
    for part in documents(tmp_path, text):
        if isinstance(part, Finding):
            findings.append(part)
            continue
        with importable(tmp_path):
            made = examine(part, PluginRegistry.installed())
        if not isinstance(made, Pipeline):
            findings += [finding for finding in made if finding not in findings]
    return [(show_loc(f.loc), f.mark.line if f.mark else 0, f.message) for f in findings]


def owner(found: dict[str, Document]) -> dict[str, Any]:
    return found["shop.tasks"].data


def test_each_destination_outside_has_a_pipeline_of_its_own(tmp_path: Path) -> None:
    found = by_name(tmp_path, BOTH)
    assert list(found) == [
        "shop",
        "shop.tasks",
        "shop.deliver.result-sqlite",
        "shop.deliver.result-mns",
        "shop.deliver.night",
        "shop.attempt",
        "shop.attempt-2",
    ]
    assert problems(tmp_path, BOTH) == []
    source = found["shop.deliver.result-sqlite"].data["source"]["with"]
    assert (source["topics"], source["value"]) == ("shop.deliveries.result-sqlite", "json")
    night = found["shop.deliver.night"].data
    assert night["source"]["with"]["notices"]
    assert "format" not in night["sink"]["with"]  # a failure is an envelope already
    assert night["dead_letter"] == {"topic": "shop.undelivered"}


def test_no_daemon_runs_attempts_as_a_pipeline(tmp_path: Path) -> None:
    by_name(tmp_path, BOTH)
    (document,) = load([tmp_path / "p.yaml"], env=os.environ).documents
    assert len(stream_documents(document, [])) == 5


def test_the_owner_knows_who_hears_of_which_outcome(tmp_path: Path) -> None:
    data = owner(by_name(tmp_path, BOTH))
    settings = TaskInboxSettings.model_validate(data["source"]["with"])
    assert data["sink"]["with"] == {"topic": "out"}
    assert [(one.topic, one.create is not None) for one in settings.results] == [("more", True)]
    assert [(one.topic, one.format, one.when) for one in settings.letters] == [
        ("failed", "envelope", (State.FAILED,))
    ]
    assert [(one.name, one.takes_rows, one.has_input) for one in settings.outside] == [
        ("result-sqlite", True, False),
        ("result-mns", True, True),
        ("night", False, False),
    ]
    assert settings.policy.outside == {
        State.FAILED: ("night",),
        State.STOPPED: ("night",),
        State.EXPIRED: ("night",),
        State.INVALID: ("night",),
    }
    encoded_for = [data["source"]["with"]["run"]["sink"], *settings.sinks]
    assert [sink["with"].get("value") for sink in encoded_for] == [None, "text", "json", "json"]


def test_one_destination_needs_no_list(tmp_path: Path) -> None:
    text = f"on_success: {{use: mns, {MNS}, value: text}}}}\n" + ONE
    found = by_name(tmp_path, text)
    assert list(found) == ["shop", "shop.tasks", "shop.deliver.result-mns", "shop.attempt"]
    assert problems(tmp_path, text) == []
    data = owner(found)
    assert not data["source"]["with"]["has_results"]
    assert data["sink"]["with"]["topic"] == "shop.deliveries.result-mns"
    assert found["shop.deliver.result-mns"].data["source"]["with"]["value"] == "text"


def test_two_of_a_kind_have_two_names(tmp_path: Path) -> None:
    files = "on_success: [{use: stdout}, {use: stdout}, {use: stdout, name: third}]\n"
    assert [name for name in by_name(tmp_path, files + ONE) if "deliver" in name] == [
        "shop.deliver.result-stdout",
        "shop.deliver.result-stdout-2",
        "shop.deliver.third",
    ]


@pytest.mark.parametrize(
    ("text", "at", "line", "said"),
    [
        ("on_success: []\n" + ONE, "on_success", 6, "at least 1"),
        ("on_success: stdout\non_failure: []\n", "on_failure", 7, "at least 1"),
        (
            "on_success: stdout\non_failure: {topic: f, when: [Fail]}\n",
            "on_failure.when[0]",
            7,
            "should be Failed, Stopped, Expired or Invalid",
        ),
        (
            "on_success: stdout\non_failure:\n- {topic: f}\n- {use: kafka, with: {topic: g}}\n",
            "on_failure[1]",
            9,
            "is written as `topic: NAME`",
        ),
        (
            "on_success:\n- {use: kafka, with: {topic: o}}\n- {use: sqlite, with: {path: a}}\n"
            + ONE,
            "on_success[1].with",
            8,
            "`table` is missing",
        ),
        (
            "on_success: {use: sqlite, with: {path: a, tabel: b}}\n" + ONE,
            "on_success.with.tabel",
            6,
            "unknown key `tabel`",
        ),
        (
            "on_success: stdout\non_failure:\n- {topic: f}\n" + OBJECTS,
            "on_failure[1].use",
            9,
            "keeps offsets beside its rows",
        ),
        ("on_success: nonsense\n" + ONE, "on_success.use", 6, "nonsense"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(
    tmp_path: Path, text: str, at: str, line: int, said: str
) -> None:
    found = problems(tmp_path, text)
    assert any(f[:2] == (at, line) and said in f[2] for f in found), found
