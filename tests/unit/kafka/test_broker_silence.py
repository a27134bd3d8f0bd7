"""When a client's brokers have fallen silent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafka_etl.kafka.client import broker_silence as module
from kafka_etl.kafka.client.broker_silence import BrokerSilence

DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)
ONE_DOWN = KafkaError(KafkaError._TRANSPORT)


class Brokers:
    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    def __call__(self) -> None:
        self.asked += 1
        if self.away:
            raise KafkaException(ONE_DOWN)


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_it_lasts_from_the_last_broker_lost_to_the_first_that_answers(
    brokers: Brokers, wait: Callable[[float], None]
) -> None:
    silence = BrokerSilence()
    silence.on_error(ONE_DOWN)
    silence.look(brokers, joined=True)
    assert (silence.lasts, brokers.asked) == (False, 0)
    brokers.away = True
    silence.on_error(DOWN)
    for _ in range(5):
        silence.look(brokers, joined=True)
    assert (silence.lasts, brokers.asked) == (True, 1)
    brokers.away = False
    wait(5)
    silence.look(brokers, joined=False)
    assert not silence.lasts


def test_brokers_that_hang_are_found_by_asking(
    brokers: Brokers, wait: Callable[[float], None]
) -> None:
    silence = BrokerSilence()
    brokers.away = True
    silence.look(brokers, joined=False)
    assert not silence.lasts
    wait(10)
    silence.look(brokers, joined=False)
    assert silence.lasts


def test_an_error_is_explained_by_it() -> None:
    silence = BrokerSilence()
    slow = KafkaError(KafkaError._TIMED_OUT, "too slow")
    assert silence.explain("committing", slow) == "committing: _TIMED_OUT: too slow"
    silence.note(DOWN)
    assert silence.explain("committing", slow) == "no broker answers (committing: _TIMED_OUT)"
    busy = KafkaError(KafkaError.CONCURRENT_TRANSACTIONS, "not yet")
    assert silence.explain("committing", busy) == "committing: CONCURRENT_TRANSACTIONS: not yet"
    silence.over()
    assert silence.explain("committing", slow) == "committing: _TIMED_OUT: too slow"
