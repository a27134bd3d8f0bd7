"""The table of metrics, and counting."""

from __future__ import annotations

import re

import pytest

from kafka_etl.metrics import METRICS, Counters


def test_names_are_prometheus_names_and_unique() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", metric.name)
        assert re.fullmatch(r"[a-z_]*", metric.label)
        assert not metric.name.endswith("_total"), "the exporter adds it"
        assert metric.help.endswith(".")


def test_counters_add_up_by_name_and_label() -> None:
    counters = Counters()
    counters.add("records_in", 5)
    counters.add("records_in", 2)
    counters.add("dead_letters", label="DecodeError")
    counters.add("dead_letters", 3, "OperatorError")
    assert counters.snapshot() == {
        ("records_in", ""): 7,
        ("dead_letters", "DecodeError"): 1,
        ("dead_letters", "OperatorError"): 3,
    }


def test_counters_of_several_workers_add_up() -> None:
    total = Counters()
    for _ in range(2):
        one = Counters()
        one.add("commits", 3)
        total.include(one.snapshot())
    assert total.snapshot() == {("commits", ""): 6}


def test_a_snapshot_does_not_change_any_more() -> None:
    counters = Counters()
    counters.add("commits")
    before = counters.snapshot()
    counters.add("commits")
    assert before == {("commits", ""): 1}


@pytest.mark.parametrize(
    ("name", "label"),
    [("record_in", ""), ("records_in", "x"), ("dead_letters", ""), ("nope", "x")],
)
def test_a_metric_that_is_not_in_the_table_cannot_be_counted(name: str, label: str) -> None:
    with pytest.raises(KeyError, match=name):
        Counters().add(name, label=label)
