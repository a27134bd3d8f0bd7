"""Renders metrics for Prometheus from the daemon's view and the table in `kafka_etl.metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from kafka_etl import metrics
from kafka_etl.invocation import Condition
from kafka_etl.runtime.daemon.daemon import View
from kafka_etl.runtime.daemon.pipelines import PipelineStatus
from kafka_etl.runtime.daemon.state import State

_CONDITIONS: Final = tuple(map(str, Condition))


class _Collector(Collector):
    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        view = self._view()
        for metric in metrics.METRICS:
            labels = ["pipeline", metric.label] if metric.label else ["pipeline"]
            if metric.kind == "histogram":
                yield _histogram(metric, view)
                continue
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(f"kafka_etl_{metric.name}", metric.help, labels=labels)
            for name, status in view.pipelines.items():
                for label, value in _series(metric, status, view.at):
                    family.add_metric([name, label] if metric.label else [name], value)
            yield family


def _histogram(metric: metrics.Metric, view: View) -> Metric:
    """A histogram of each pipeline that has counted values of it."""
    name = f"kafka_etl_{metric.name}"
    family = HistogramMetricFamily(name, metric.help, labels=["pipeline"])
    for pipeline, status in view.pipelines.items():
        counts = {label: n for (of, label), n in status.counters.items() if of == metric.name}
        if counts:
            buckets, total = metrics.cumulated(counts)
            family.add_metric([pipeline], buckets, total)
    return family


def _series(
    metric: metrics.Metric, status: PipelineStatus, now: float
) -> Iterator[tuple[str, float]]:
    """Yield (label value, value) for each series of one metric of one pipeline."""
    match metric.name:
        case "workers":
            yield "", status.workers
        case "partitions":
            yield "", status.standing.partitions
        case "lag_records" | "lag_seconds":
            lag = status.lag_records if metric.name == "lag_records" else status.lag_seconds(now)
            if lag is not None:
                yield "", lag
        case "state":
            for state in State:
                yield state, float(state is status.state)
        case name if metric.kind == "gauge":
            yield from (
                (label, value) for (of, label), value in status.gauges.items() if of == name
            )
        case name:
            # A series must exist with 0 before its first count: Prometheus sees no increase in a
            # series that begins with 1.
            known = _CONDITIONS if name == "dead_letters" else ("",) if not metric.label else ()
            counted = {label: value for (of, label), value in status.counters.items() if of == name}
            yield from (dict.fromkeys(known, 0.0) | counted).items()


def render(view: Callable[[], View]) -> bytes:
    """Render the current view as the text that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(view))
    return generate_latest(registry)
