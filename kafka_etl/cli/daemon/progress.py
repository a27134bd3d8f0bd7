"""Shows the progress of a run, on a terminal or in the log."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

from kafka_etl.cli.daemon.status_table import look
from kafka_etl.log import get_logger
from kafka_etl.runtime.daemon.daemon import Rates, View
from kafka_etl.runtime.daemon.pipelines import PipelineStatus
from kafka_etl.terminal import WIPE, overwrite, overwrites

_SHOWN_CAUSES: Final = 3
_LOG_EVERY: Final = 10.0


class Progress:
    """Shows the daemon's views: one overwritten line on a terminal, else log lines every 10 s.

    All methods are called in the daemon's main thread.

    Args:
        until_end: Whether the run ends at the end offsets; then the line estimates the time left.
    """

    def __init__(self, *, until_end: bool) -> None:
        self._until_end = until_end
        self._terminal = overwrites()
        self._log = get_logger("daemon")
        self._logged_at = time.monotonic()

    def show(self, view: View) -> None:
        """Show a view; called by the daemon about once a second."""
        if self._terminal:
            texts = [
                self._line(status, view.rates[name]) for name, status in view.pipelines.items()
            ]
            overwrite(" | ".join(texts))
        elif time.monotonic() - self._logged_at >= _LOG_EVERY:
            self._logged_at = time.monotonic()
            for name, status in view.pipelines.items():
                self._log.info("progress", pipeline=name, **_numbers(status, view))

    def finish(self, view: View) -> None:
        """Show the final state of each pipeline; errors are in the log already."""
        for name, status in view.pipelines.items():
            said = _end(status)
            if self._terminal:
                sys.stderr.write(f"{WIPE}{name}: {said}.\n")
                for line in _causes(status):
                    sys.stderr.write(f"{line}\n")
            else:
                log = self._log.error if status.problem else self._log.info
                log(said, pipeline=name, **_numbers(status, view), **_causes_as_fields(status))
        sys.stderr.flush()

    def _line(self, status: PipelineStatus, rates: Rates) -> str:
        lag, rate = status.lag_records, rates.records_in
        eta = f", {lag / rate:,.0f} s to go" if self._until_end and rate and lag else ""
        trouble = f" ({status.trouble})" if status.trouble else ""
        letters = status.count("dead_letters")
        dead = f", {letters:,.0f} dead letters" if letters else ""
        behind = "" if lag is None else f", lag {lag:,}"
        return f"{status.name}: {status.state}, {rate:,.0f} rec/s{behind}{dead}{eta}{trouble}"


def _end(status: PipelineStatus) -> str:
    because = f" ({status.problem.code})" if status.problem else ""
    counts = (
        f"{status.count(metric):,.0f} {words}"
        for metric, words in (
            ("records_in", "records in"),
            ("records_out", "out"),
            ("records_dropped", "dropped"),
            ("dead_letters", "dead letters"),
        )
    )
    return f"{status.state}{because}: {', '.join(counts)}"


def _causes(status: PipelineStatus) -> list[str]:
    """Return lines with the commonest causes of dead letters, and the command that shows one."""
    lines = [f"  dead letters: {cause}" for cause in status.causes[:_SHOWN_CAUSES]]
    return [*lines, f"    {_look(status)}"] if lines else []


def _causes_as_fields(status: PipelineStatus) -> dict[str, Any]:
    """Return the commonest causes of dead letters as fields of a log line."""
    if not status.causes:
        return {}
    return {"causes": list(map(str, status.causes[:_SHOWN_CAUSES])), "look": _look(status)}


def _look(status: PipelineStatus) -> str:
    """Return the command that shows a dead letter of the commonest cause."""
    return look(status.file, status.letters, status.causes[0].example.id)


def _numbers(status: PipelineStatus, view: View) -> dict[str, object]:
    rates = view.rates[status.name]
    behind = status.lag_seconds(view.at)
    return {
        "state": status.state.value,
        "records_in": int(status.count("records_in")),
        "rate_in": round(rates.records_in),
        "lag": status.lag_records,
        "lag_seconds": None if behind is None else round(behind, 1),
        "dead_letters": int(status.count("dead_letters")),
        "trouble": status.trouble,
    }
