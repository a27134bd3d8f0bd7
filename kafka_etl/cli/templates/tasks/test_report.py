"""The operator, without Kafka."""

from pathlib import Path

import pytest
from kafka_etl import Context
from kafka_etl.errors import Stopped
from kafka_etl.testing import run_pipeline

from report import render

PIPELINE = Path(__file__).with_name("pipeline.yaml")


def test_progress_is_told() -> None:
    heard: list[str] = []
    context = Context(listener=lambda _fraction, text: heard.append(text))
    assert render({"report": "r1", "pages": 2}, context) == {"report": "r1", "lines": 2}
    assert heard == ["page 1 of 2", "page 2 of 2"]


def test_a_stop_ends_the_attempt() -> None:
    context = Context()
    context.stopped.set()
    with pytest.raises(Stopped):
        render({"report": "r1", "pages": 2}, context)


def test_the_pipeline_on_some_tasks() -> None:
    ran = run_pipeline(PIPELINE, [{"report": "r1", "pages": 1}, {"report": "r2"}])
    assert [output.value for output in ran.outputs] == [{"report": "r1", "lines": 1}]
    assert [letter.error_type for letter in ran.dead_letters] == ["KeyError"]
