"""The operator and the pipeline, without Kafka."""

from pathlib import Path

import pytest
from kafka_etl import Permanent
from kafka_etl.testing import run_pipeline

from convert import Converted, Order, to_eur

PIPELINE = Path(__file__).with_name("pipeline.yaml")


def test_an_operator_is_a_function() -> None:
    assert to_eur(Order(1, 10.0, "USD"), rates={"USD": 2.0}) == Converted(1, 10.0, "USD", 20.0)
    with pytest.raises(Permanent, match="no rate for XAU"):
        to_eur(Order(1, 10.0, "XAU"), rates={})


def test_the_pipeline_on_some_records() -> None:
    orders = [{"id": n, "amount": 10.0 - n, "currency": "GBP"} for n in (1, 11)]
    outputs, dead_letters, dropped = run_pipeline(PIPELINE, orders)
    assert [output.value["amount_eur"] for output in outputs] == [10.53]
    assert [letter.error_text for letter in dead_letters] == ["the amount is negative"]
    assert dropped == 0
