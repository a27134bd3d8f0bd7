"""Progress that is passed on now and then."""

from __future__ import annotations

import os
import time

from kafka_etl.runtime.tasks.runner.reporter import Reporter


class Told(list[tuple[float, str]]):
    def __call__(self, fraction: float, text: str) -> None:
        self.append((fraction, text))


def test_the_first_report_is_passed_on_at_once_and_the_last_a_little_later() -> None:
    told = Told()
    reporter = Reporter(told, every=0.05)
    for number in range(100):
        reporter.report(number / 100, "busy")

    assert told == [(0.0, "busy")]
    time.sleep(0.15)
    assert told == [(0.0, "busy"), (0.99, "busy")]


def test_only_changes_are_passed_on() -> None:
    told = Told()
    reporter = Reporter(told, every=0.0)
    for _ in range(3):
        reporter.report(0.5)

    assert told == [(0.5, "")]


def test_odd_reports_are_made_fit() -> None:
    told = Told()
    reporter = Reporter(told, every=0.0)
    for fraction in (-1, 7, float("nan")):
        reporter.report(fraction, "x" * 1_000)

    assert [fraction for fraction, _ in told] == [0.0, 1.0, 0.0]
    assert {len(text) for _, text in told} == {200}


def test_nothing_is_passed_on_after_the_end() -> None:
    told = Told()
    reporter = Reporter(told, every=0.05)
    reporter.report(0.1)
    reporter.report(0.2)
    reporter.close()
    reporter.report(0.3)
    time.sleep(0.1)

    assert told == [(0.1, "")]


def test_a_fork_reports_nothing() -> None:
    told = Told()
    reporter = Reporter(told)
    pid = os.fork()
    if pid == 0:
        reporter.report(0.5)
        os._exit(len(told))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
