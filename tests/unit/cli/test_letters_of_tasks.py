"""Dead letters of task pipelines: what is said in place of a replay. No broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from kafka_etl.cli.cluster import Cluster, read_one
from kafka_etl.cli.dlq.finding import LetterTopic, tasks_of
from kafka_etl.errors import NotAuthorized
from kafka_etl.kafka.cluster.admin import Admin

TASKS = """
name: films
mode: task
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [uploads]}}
operator: ops:work
on_success: {use: kafka, with: {topic: ready}}
on_failure: {topic: failed}
"""
STREAM = """
name: films
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [uploads]}}
sink: {use: kafka, with: {topic: ready}}
dead_letter: {topic: failed}
"""


class Topics:
    """In place of `Admin`."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def topics(self, names: set[str], _right: str) -> dict[str, int]:
        if "*" in self.names:
            raise NotAuthorized("no")
        return dict.fromkeys(names & set(self.names), 1)


def letters(topic: str, *known: str, folder: Path | None = None, text: str = "") -> LetterTopic:
    spec: Any = None
    if folder is not None:
        (folder / "films.yaml").write_text(text)
        spec = read_one(folder / "films.yaml", {})
    return LetterTopic(topic, {}, Cluster({}, spec=spec), cast("Admin", Topics(*known)))


def test_outcomes_of_tasks_are_retried(tmp_path: Path) -> None:
    found = tasks_of(letters("failed", folder=tmp_path, text=TASKS), "films.yaml")
    assert found is not None
    assert found.advice.startswith("`kafka-etl tasks retry films.yaml ID` runs")
    assert "how tasks have ended" in found.what


def test_what_a_destination_has_refused_is_delivered_once_more(tmp_path: Path) -> None:
    file = tasks_of(letters("films.undelivered", folder=tmp_path, text=TASKS), "films.yaml")
    assert file is not None
    assert file.advice.startswith("`kafka-etl tasks retry films.yaml ID --deliver")


@pytest.mark.parametrize("known", ["films.journal", "*"])
def test_a_pipeline_is_known_by_its_journal(known: str) -> None:
    name = tasks_of(letters("films.undelivered", known), "films.undelivered")
    assert name is not None
    assert name.advice.startswith("`kafka-etl tasks retry films ID --deliver")


def test_letters_of_other_pipelines_are_replayed(tmp_path: Path) -> None:
    assert tasks_of(letters("failed", folder=tmp_path, text=STREAM), "films.yaml") is None
    assert tasks_of(letters("films.undelivered"), "films.undelivered") is None
    assert tasks_of(letters("failed", "films.journal"), "failed") is None
