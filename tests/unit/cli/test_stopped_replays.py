"""How a replay that was stopped goes on, as a command. No broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from kafka_etl.cli.dlq.bulk import Letters, give_back, go_on
from kafka_etl.dead_letters.statuses import ActionState, BulkAction
from tests.unit.cli.test_letters_of_tasks import STREAM, letters


def of_topic(folder: Path, topic: str) -> Letters:
    found = letters(topic, folder=folder, text=STREAM)
    return Letters("films.yaml", found, statuses=cast("Any", None))


@pytest.mark.parametrize(("topic", "named"), [("failed", ""), ("old", " --letters old")])
def test_a_topic_that_is_not_the_pipelines_own_is_named(
    tmp_path: Path, topic: str, named: str
) -> None:
    found = of_topic(tmp_path, topic)
    action = BulkAction("a1", "replay", ActionState.STOPPED, 1, "me@here", "", "x", 2, "plan")
    assert go_on(found, action) == f"kafka-etl dlq replay films.yaml --resume a1{named}"
    assert give_back(found, action) == f"kafka-etl dlq release films.yaml a1{named}"


def test_a_replay_without_the_history_goes_on_without(tmp_path: Path) -> None:
    action = BulkAction(
        *("a1", "replay", ActionState.STOPPED, 1, "me@here", "", "x", 2, "plan"),
        to="source",
        reset=True,
    )
    assert go_on(of_topic(tmp_path, "failed"), action).endswith("--to source --reset-attempts")
