"""The time of tasks is that of the brokers."""

from __future__ import annotations

import pytest

from kafka_etl.kafka.client import broker_clock as module
from kafka_etl.kafka.client.broker_clock import BrokerClock
from kafka_etl.tasks.keeping import Instant

HOUR = 3600.0


class Host:
    """The clocks of a host, which a test sets; the brokers' one says 1,000,000 s at its start."""

    def __init__(self, ahead: float) -> None:
        self.passed = 0.0
        self.ahead = ahead

    def now(self) -> Instant:
        return Instant(77 + self.passed, 1_000_000 + self.passed + self.ahead)

    @property
    def brokers_ms(self) -> int:
        return int((1_000_000 + self.passed) * 1000)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, 0.0])
def test_the_hosts_clock_counts_until_a_broker_has_said_the_time(ahead: float) -> None:
    host = Host(ahead)
    clock = BrokerClock(host.now)
    assert clock.now_ms() == host.brokers_ms + ahead * 1000
    clock.appended(host.brokers_ms)
    assert clock.now_ms() == host.brokers_ms
    host.passed = 5.0
    assert clock.now_ms() == host.brokers_ms
    host.ahead += HOUR  # somebody sets the host's clock
    assert clock.now_ms() == host.brokers_ms


def test_an_answer_that_comes_late_sets_no_clock_back() -> None:
    host = Host(0.0)
    clock = BrokerClock(host.now)
    clock.appended(host.brokers_ms)
    late = host.brokers_ms
    host.passed = 20.0
    clock.appended(late)
    assert clock.now_ms() == host.brokers_ms


def test_brokers_whose_clock_is_set_back_are_followed() -> None:
    host = Host(0.0)
    clock = BrokerClock(host.now)
    clock.appended(host.brokers_ms)
    for _ in range(module._HEARD):
        clock.appended(host.brokers_ms - 1000)
    assert clock.now_ms() == host.brokers_ms - 1000


def test_a_clock_that_is_far_off_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(HOUR)
    clock = BrokerClock(host.now)
    for _ in range(3):
        clock.appended(host.brokers_ms)
    said = "".join(capsys.readouterr())
    assert said.count("differs from the brokers") == 1
    assert "3600" in said
