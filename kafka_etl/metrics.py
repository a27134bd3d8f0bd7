"""Every metric in one table, and the counters a worker keeps for them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

MetricKind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; every series has the label `pipeline`, and at most one more."""

    name: str
    kind: MetricKind
    help: str
    label: str = ""


METRICS: Final[tuple[Metric, ...]] = (
    Metric("records_in", "counter", "Records read from the source and settled."),
    Metric("records_out", "counter", "Records committed to the sink."),
    Metric("records_dropped", "counter", "Records an operator dropped on purpose."),
    Metric("dead_letters", "counter", "Dead letters committed, by condition.", "condition"),
    Metric("bytes_out", "counter", "Bytes of the values committed to the sink."),
    Metric("commits", "counter", "Settlements committed."),
    Metric("aborts", "counter", "Commits that failed and were retried."),
    Metric("outcomes_unknown", "counter", "Commits whose reply was lost."),
    Metric("rebalances", "counter", "Times partitions arrived or left."),
    Metric("reconnects", "counter", "Times the clients were rebuilt."),
    Metric("retry_waves", "counter", "Waits before failed records were retried."),
    Metric("phase_seconds", "counter", "Seconds spent, by part of the path.", "phase"),
    Metric("notices_sent", "counter", "Notices that hooks have accepted.", "notice"),
    Metric("notices_given_up", "counter", "Notices that a hook did not accept.", "notice"),
    Metric("words", "counter", "Words for tasks that were read."),
    Metric("words_bad", "counter", "Records of an inbox that were not words."),
    Metric("tasks_ended", "counter", "Tasks that have ended, by final state.", "final_state"),
    Metric("tasks", "gauge", "Open tasks, by state.", "state"),
    Metric(
        "task_oldest_enqueued_seconds",
        "gauge",
        "How long the oldest task has been waiting to start.",
    ),
    Metric("task_wait_seconds", "histogram", "From the acceptance of a task to its first start."),
    Metric("task_run_seconds", "histogram", "How long ended attempts took."),
    Metric("task_attempts", "counter", "Attempts that have ended, by how: lost is one way.", "why"),
    Metric("task_stops", "counter", "Tasks that were told to stop."),
    Metric("task_duplicates", "counter", "Submissions of an id that was taken."),
    Metric("tasks_undelivered", "counter", "Outcomes that a destination refused.", "destination"),
    Metric("worker_deaths", "counter", "Workers that ended unasked, by reason.", "reason"),
    Metric("worker_restarts", "counter", "Workers started again after a death."),
    Metric("workers", "gauge", "Workers that are running."),
    Metric("partitions", "gauge", "Partitions assigned to the workers of this daemon."),
    Metric("lag_records", "gauge", "Records not settled yet, over the assigned partitions."),
    Metric("lag_seconds", "gauge", "How long ago the partition furthest behind was up to date."),
    Metric("state", "gauge", "1 for the state the pipeline is in.", "state"),
)
"""Exposed as `kafka_etl_<name>`, counters with `_total` at the end."""

BUCKETS: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds of the buckets of histograms, in seconds; beyond the last there is one more."""
SUM: Final = "sum"
"""In the place of a bucket: the sum of all values of a histogram."""
_LABELS: Final = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
_KNOWN: Final = {(metric.name, bool(metric.label)) for metric in METRICS}
_HISTOGRAMS: Final = frozenset(metric.name for metric in METRICS if metric.kind == "histogram")

Series = tuple[str, str]
"""Name of a metric, and the value of its label; of a histogram, the bucket."""


class Counters:
    """The counters of a worker, which change once per batch or slice, never per record.

    Counts of several workers, also of dead ones, add up. Gauges are those of living workers.
    """

    def __init__(self) -> None:
        self._values: dict[Series, float] = defaultdict(float)
        self._gauges: dict[Series, float] = {}

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Count `amount` more. The name must stand in METRICS."""
        if (name, bool(label)) not in _KNOWN:
            raise KeyError(f"no metric {name!r} {'with' if label else 'without'} a label")
        self._values[name, label] += amount

    def set(self, name: str, value: float, label: str = "") -> None:
        """Set a gauge. The name must stand in METRICS."""
        if (name, bool(label)) not in _KNOWN:
            raise KeyError(f"no metric {name!r} {'with' if label else 'without'} a label")
        self._gauges[name, label] = value

    def observe(self, name: str, value: float) -> None:
        """Count a value of a histogram. The name must stand in METRICS."""
        if name not in _HISTOGRAMS:
            raise KeyError(f"no histogram {name!r}")
        self._values[name, _LABELS[bisect_left(BUCKETS, value)]] += 1
        self._values[name, SUM] += value

    def gauges(self) -> dict[Series, float]:
        """(name, label value) -> value as it was set last."""
        return dict(self._gauges)

    def include(self, counts: Mapping[tuple[str, str], float]) -> None:
        """Count all of these, too."""
        for key, amount in counts.items():
            self._values[key] += amount

    def snapshot(self) -> dict[tuple[str, str], float]:
        """(name, label value) -> count so far."""
        return dict(self._values)


def gauges_of_all(workers: Iterable[Mapping[Series, float]]) -> dict[Series, float]:
    """The gauges of several workers: numbers add up, and of times the longest counts."""
    total: dict[Series, float] = {}
    for gauges in workers:
        for (name, label), value in gauges.items():
            known = total.get((name, label), 0.0)
            is_time = name.endswith("_seconds")
            total[name, label] = max(known, value) if is_time else known + value
    return total


def cumulated(counts: Mapping[str, float]) -> tuple[list[tuple[str, float]], float]:
    """The buckets of a histogram as Prometheus has them, and the sum of all values.

    Args:
        counts: Bucket -> number of values in the bucket alone; and the sum.
    """
    buckets: list[tuple[str, float]] = []
    total = 0.0
    for label in _LABELS:
        total += counts.get(label, 0.0)
        buckets.append((label, total))
    return buckets, counts.get(SUM, 0.0)
