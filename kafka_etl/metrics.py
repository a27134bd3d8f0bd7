"""Every metric in one table, and the counters a worker keeps for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

MetricKind = Literal["counter", "gauge"]


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
    Metric("aborts", "counter", "Commits that came to nothing and were tried again."),
    Metric("outcomes_unknown", "counter", "Commits whose answer was lost."),
    Metric("rebalances", "counter", "Times partitions arrived or left."),
    Metric("reconnects", "counter", "Times the clients were built anew."),
    Metric("retry_waves", "counter", "Waits before failed records were tried again."),
    Metric("phase_seconds", "counter", "Seconds spent, by part of the path.", "phase"),
    Metric("notices_sent", "counter", "Notices that hooks have taken.", "notice"),
    Metric("notices_given_up", "counter", "Notices that a hook did not take.", "notice"),
    Metric("words", "counter", "Words for tasks that were read."),
    Metric("words_bad", "counter", "Records of an inbox that were no words."),
    Metric("tasks_ended", "counter", "Tasks that have ended, by final state.", "final_state"),
    Metric("deliveries_refused", "counter", "Outcomes of tasks that a topic refused.", "code"),
    Metric(
        "tasks_undelivered",
        "counter",
        "Outcomes of tasks that a destination has refused, by destination.",
        "destination",
    ),
    Metric("worker_deaths", "counter", "Workers that ended unasked, by reason.", "reason"),
    Metric("worker_restarts", "counter", "Workers started again after a death."),
    Metric("workers", "gauge", "Workers that are running."),
    Metric("partitions", "gauge", "Partitions assigned to the workers of this daemon."),
    Metric("lag_records", "gauge", "Records not settled yet, over the assigned partitions."),
    Metric("lag_seconds", "gauge", "How long ago the partition furthest behind was up to date."),
    Metric("state", "gauge", "1 for the state the pipeline is in.", "state"),
)
"""Exposed as `kafka_etl_<name>`, counters with `_total` at the end."""

_KNOWN: Final = {(metric.name, bool(metric.label)) for metric in METRICS}


class Counters:
    """The counters of a worker, which change once per batch or slice, never per record."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], float] = defaultdict(float)

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Count `amount` more. The name must stand in METRICS."""
        if (name, bool(label)) not in _KNOWN:
            raise KeyError(f"no metric {name!r} {'with' if label else 'without'} a label")
        self._values[name, label] += amount

    def include(self, counts: Mapping[tuple[str, str], float]) -> None:
        """Count all of these, too."""
        for key, amount in counts.items():
            self._values[key] += amount

    def snapshot(self) -> dict[tuple[str, str], float]:
        """(name, label value) -> count so far."""
        return dict(self._values)
