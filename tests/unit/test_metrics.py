"""The table of metrics, and counting."""

from __future__ import annotations

import re

import pytest

from kafka_etl.metrics import METRICS, Counters, cumulated, gauges_of_all


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


def test_gauges_are_those_of_living_workers_and_of_times_the_longest_counts() -> None:
    one, two = Counters(), Counters()
    one.set("tasks", 3, "Enqueued")
    one.set("task_oldest_enqueued_seconds", 7)
    two.set("tasks", 1, "Enqueued")
    two.set("task_oldest_enqueued_seconds", 2)
    two.set("tasks", 2, "Enqueued")

    assert one.snapshot() == {}
    assert gauges_of_all([one.gauges(), two.gauges()]) == {
        ("tasks", "Enqueued"): 5,
        ("task_oldest_enqueued_seconds", ""): 7,
    }


def test_a_histogram_counts_values_up_to_each_bound() -> None:
    counters = Counters()
    for value in (0.1, 0.2, 100_000.0):
        counters.observe("task_run_seconds", value)
    counts = {label: count for (_, label), count in counters.snapshot().items()}

    buckets, total = cumulated(counts)

    assert dict(buckets) | {"0.1": 1, "0.5": 2, "86400": 2, "+Inf": 3} == dict(buckets)
    assert total == pytest.approx(100_000.3)
    with pytest.raises(KeyError):
        counters.observe("commits", 1)
