"""Metrics for Prometheus: all of the table, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kafka_etl.invocation import Condition
from kafka_etl.metrics import METRICS
from kafka_etl.runtime.daemon.daemon import View
from kafka_etl.runtime.daemon.exporter import render
from kafka_etl.runtime.daemon.pipelines import PipelineStatus
from kafka_etl.runtime.daemon.state import State
from kafka_etl.runtime.messages import Standing
from tests.unit.runtime.orders import NOW, FakeOrders, status

GOLDEN = Path(__file__).parent / "metrics.golden.txt"


def rendered(*statuses: object) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Sample name -> its series."""
    text = render(FakeOrders(*statuses).view).decode()
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_the_text_is_the_one_dashboards_were_made_for() -> None:
    """A change here breaks somebody's dashboard: say so in the changelog."""
    assert render(FakeOrders().view).decode() == GOLDEN.read_text()


def test_every_metric_of_the_table_is_there_and_no_other() -> None:
    text = render(FakeOrders().view).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families.keys() == {f"kafka_etl_{metric.name}" for metric in METRICS}
    for metric in METRICS:
        family = families[f"kafka_etl_{metric.name}"]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        names = {"pipeline", metric.label} - {""}
        suffix = "_total" if metric.kind == "counter" else ""
        for sample in family.samples:
            assert sample.name == f"kafka_etl_{metric.name}{suffix}"
            assert sample.labels.keys() == names


def test_every_pipeline_has_its_series() -> None:
    series = rendered(status("a", workers=1), status("b", workers=3))
    assert series["kafka_etl_workers"] == [({"pipeline": "a"}, 1), ({"pipeline": "b"}, 3)]


@pytest.mark.parametrize("state", State)
def test_just_one_state_is_1(state: State) -> None:
    series = rendered(status("a", state=state))["kafka_etl_state"]
    assert {labels["state"] for labels, _ in series} == set(State)
    assert [labels["state"] for labels, value in series if value == 1] == [state]


def test_lag_is_of_the_partitions_that_are_behind() -> None:
    series = rendered()
    assert series["kafka_etl_lag_records"] == [({"pipeline": "orders"}, 10)]
    assert series["kafka_etl_lag_seconds"] == [({"pipeline": "orders"}, 5.0)]


@pytest.mark.parametrize(
    "unknown",
    [
        status("a", standing=Standing()),
        status("a", standing=Standing(partitions=1, lag=None)),
    ],
)
def test_lag_is_not_0_before_anything_is_known_of_it(unknown: PipelineStatus) -> None:
    assert (unknown.lag_records, unknown.lag_seconds(NOW)) == (None, None)
    series = rendered(unknown)
    assert not {"kafka_etl_lag_records", "kafka_etl_lag_seconds"} & series.keys()


def test_what_has_not_happened_yet_is_0() -> None:
    """An alert on an increase would miss the first one otherwise."""
    series = rendered(status("a", counters={}))
    assert series["kafka_etl_aborts_total"] == [({"pipeline": "a"}, 0)]
    letters = series["kafka_etl_dead_letters_total"]
    assert {labels["condition"]: value for labels, value in letters} == dict.fromkeys(Condition, 0)


def test_a_daemon_without_pipelines_still_names_its_metrics() -> None:
    assert render(lambda: View(NOW, "blue", {}, {})).decode().count("# TYPE") == len(METRICS)


def test_a_label_may_hold_anything() -> None:
    odd = 'a "quoted" \\ reason\nin two lines'
    series = rendered(status("a", counters={("worker_deaths", odd): 1}))
    assert series["kafka_etl_worker_deaths_total"] == [({"pipeline": "a", "reason": odd}, 1)]
