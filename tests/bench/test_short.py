"""Every scenario runs and its outputs are right, ours and the loop's; nothing here is timed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench import paced, report
from tests.bench.bench import Bench, WrongOutputs, bench
from tests.bench.scenarios import SCENARIOS, Scenario


@pytest.fixture(scope="module")
def running() -> Iterator[Bench]:
    with bench(lambda _text: None, pin=False) as started:
        yield started


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_runs_and_counts_right(running: Bench, scenario: Scenario) -> None:
    result = running.run(scenario, rounds=1, records=400)
    assert len(result.ours) == len(result.loop) == len(result.again) == 1
    assert result.ours[0].start > 0


def test_outputs_that_are_missing_are_noticed(running: Bench) -> None:
    topic = running.kafka.topic(4)
    scenario = SCENARIOS[0]
    running.fill(topic, (scenario.make(number) for number in range(99)))
    with pytest.raises(WrongOutputs, match="1 records are lost"):
        running.check(scenario, [topic], 100)


def test_latency_is_that_of_each_record(running: Bench) -> None:
    figures = paced.ours(running, rate=100, seconds=1.0)
    assert 0 < figures.p50 <= figures.p99 <= figures.p999


def test_the_page_has_the_table_of_what_is_kept() -> None:
    page = report.PAGE.read_text()
    assert report.page_with(report.table(), page) == page
