"""How a run goes, on a terminal and elsewhere."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from typing import Final

from kafka_etl.log import get_logger
from kafka_etl.runtime.daemon.daemon import Rates, View
from kafka_etl.runtime.daemon.pipelines import PipelineStatus

_SHOWN_CAUSES: Final = 3
_LOG_EVERY: Final = 10.0
_WIPE: Final = "\r\x1b[2K"


class Progress:
    """One line that is overwritten on a terminal; one log line each ten seconds elsewhere."""

    def __init__(self, *, until_end: bool) -> None:
        self._until_end = until_end
        self._terminal = sys.stderr.isatty()
        self._log = get_logger("daemon")
        self._logged_at = time.monotonic()

    def show(self, view: View) -> None:
        """Take in the daemon's view, about once a second."""
        if self._terminal:
            texts = [
                self._line(status, view.rates[name]) for name, status in view.pipelines.items()
            ]
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(_WIPE + " | ".join(texts)[:width])
            sys.stderr.flush()
        elif time.monotonic() - self._logged_at >= _LOG_EVERY:
            self._logged_at = time.monotonic()
            for name, status in view.pipelines.items():
                self._log.info("progress", pipeline=name, **_numbers(status, view))

    def finish(self, view: View) -> None:
        """Say what became of each pipeline."""
        if self._terminal:
            sys.stderr.write(_WIPE)
        for name, status in view.pipelines.items():
            sys.stderr.write(
                f"{name}: {status.state}. {status.count('records_in'):,.0f} records in, "
                f"{status.count('records_out'):,.0f} out, "
                f"{status.count('records_dropped'):,.0f} dropped, "
                f"{status.count('dead_letters'):,.0f} dead letters.\n"
            )
            for line in _causes(status):
                sys.stderr.write(f"{line}\n")
            if status.problem is not None:
                sys.stderr.write(f"{status.problem}\n")
        sys.stderr.flush()

    def _line(self, status: PipelineStatus, rates: Rates) -> str:
        lag, rate = status.lag_records, rates.records_in
        eta = f", {lag / rate:,.0f} s to go" if self._until_end and rate and lag else ""
        trouble = f" ({status.trouble})" if status.trouble else ""
        letters = status.count("dead_letters")
        dead = f", {letters:,.0f} dead letters" if letters else ""
        behind = "" if lag is None else f", lag {lag:,}"
        return f"{status.name}: {status.state}, {rate:,.0f} rec/s{behind}{dead}{eta}{trouble}"


def _causes(status: PipelineStatus) -> list[str]:
    """The commonest causes of dead letters, and the command that shows one."""
    lines = [f"  dead letters: {cause}" for cause in status.causes[:_SHOWN_CAUSES]]
    if lines:
        example = status.causes[0].example.id
        lines.append(f"    kafka-etl dlq show {shlex.quote(status.file)} {example}")
    return lines


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
