"""What preflight says of the topics of tasks. No broker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.config.load import load
from kafka_etl.config.task_documents import stream_documents
from kafka_etl.kafka.tasks.settings import TaskInboxSettings
from kafka_etl.kafka.tasks.topics import notes_on_results

BROKERS_LIMIT = 1_048_588
FILE = """
name: shop
mode: task
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [uploads]}}
operator: {use: "ops:work"MORE}
on_success: {use: kafka, with: {topic: done}}
on_failure: {topic: failed}
"""


def owner(folder: Path, more: str = "") -> dict[str, Any]:
    (folder / "p.yaml").write_text(FILE.replace("MORE", more))
    (document,) = load([folder / "p.yaml"], env=os.environ).documents
    with_: dict[str, Any] = stream_documents(document, [])[1].data["source"]["with"]
    return with_


def test_the_largest_result_fits_into_a_topic_as_brokers_make_it(tmp_path: Path) -> None:
    made = owner(tmp_path)
    assert "max.message.bytes" not in made["inbox_config"]
    settings = TaskInboxSettings.model_validate(made)
    assert settings.max_result == 900_000
    assert notes_on_results(settings, BROKERS_LIMIT) == []


def test_an_inbox_is_made_for_larger_results(tmp_path: Path) -> None:
    made = owner(tmp_path, ", max_result: 5MiB")
    limit = int(made["inbox_config"]["max.message.bytes"])
    settings = TaskInboxSettings.model_validate(made)
    assert settings.max_result == 5 * 2**20 < limit
    assert notes_on_results(settings, limit) == []
    assert len(notes_on_results(settings, limit - 1)) == 1


@pytest.mark.parametrize(("limit", "result"), [(500_000, "434,464"), (10_000, "0")])
def test_an_inbox_that_takes_less_is_told(tmp_path: Path, limit: int, result: str) -> None:
    (note,) = notes_on_results(TaskInboxSettings.model_validate(owner(tmp_path)), limit)
    assert f"shop.inbox takes records of {limit:,} bytes" in note
    assert "max.message.bytes to 965,536" in note
    assert f"`max_result` of the operator to {result}" in note
