"""The operator and the pipeline, without Kafka and without an object store."""

from pathlib import Path

import pytest
from kafka_etl import Permanent
from kafka_etl.testing import run_pipeline

from readings import in_celsius

PIPELINE = Path(__file__).with_name("pipeline.yaml")
READING = {"sensor": "a1", "value": 212.0, "unit": "F", "at": "2026-05-17T08:00:00Z"}


def test_an_operator_is_a_function() -> None:
    assert in_celsius(READING)["celsius"] == 100.0
    with pytest.raises(Permanent, match="unit X"):
        in_celsius(READING | {"unit": "X"})


def test_the_pipeline_on_some_records() -> None:
    ran = run_pipeline(PIPELINE, [READING, b"no JSON"])
    assert [output.value["celsius"] for output in ran.outputs] == [100.0]
    assert [letter.condition for letter in ran.dead_letters] == ["DecodeError"]
