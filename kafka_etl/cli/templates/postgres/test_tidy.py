"""The operator and the pipeline, without Kafka and without PostgreSQL."""

from pathlib import Path

from kafka_etl.testing import run_operator, run_pipeline

from tidy import tidy

PIPELINE = Path(__file__).with_name("pipeline.yaml")
ORDER = {"id": 1, "customer": " Ann ", "amount": "10.50", "placed": "2026-05-17T08:00:00Z"}


def test_an_operator_is_a_function() -> None:
    assert tidy(ORDER | {"note": "gift"}) == ORDER | {"customer": "Ann"}


def test_a_missing_field_is_a_dead_letter() -> None:
    (letter,) = run_operator(tidy, [{"id": 1}]).dead_letters
    assert (letter.error_type, letter.value) == ("KeyError", {"id": 1})


def test_the_pipeline_on_some_records() -> None:
    ran = run_pipeline(PIPELINE, [ORDER, ORDER | {"customer": ""}])
    assert [output.value["customer"] for output in ran.outputs] == ["Ann"]
    assert [letter.error_text for letter in ran.dead_letters] == ["the order has no customer"]
