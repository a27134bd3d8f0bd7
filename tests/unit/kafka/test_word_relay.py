"""The way of a keeper's words to the inbox."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError

from kafka_etl.kafka.client.broker_clock import BrokerClock
from kafka_etl.kafka.tasks import word_relay as module
from kafka_etl.kafka.tasks.word_relay import WordRelay
from kafka_etl.tasks.keeping import Acknowledged, Said


class Written:
    """A record that a broker has."""

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_LOG_APPEND_TIME, 0


class Producer:
    """A producer whose records wait for the test."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, Any]] = []

    def produce(self, *record: Any, on_delivery: Any, **_: Any) -> None:
        self.waiting.append((record[2], on_delivery))

    def poll(self, _seconds: float) -> None: ...

    def settles(self, error: KafkaError | None) -> list[bytes]:
        """Tell what became of the records that wait; return their keys."""
        waiting, self.waiting = self.waiting, []
        for _, told in waiting:
            told(error, Written())
        return [key for key, _ in waiting]


def test_a_last_word_that_kafka_has_not_taken_is_written_until_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    producer = Producer()
    monkeypatch.setattr(module, "make_client", lambda *_: producer)
    monkeypatch.setattr(module, "monotonic", lambda: now)
    relay = WordRelay({}, "shop.inbox", BrokerClock())
    relay.write(Said(3, "task", b"rows", [("k", b"result")], "token"))
    relay.write(Said(3, "here", None, [("k", b"alive")], number=7))  # the keeper says another soon
    assert producer.settles(KafkaError(KafkaError._MSG_TIMED_OUT)) == [b"task", b"here"]
    for _ in range(2):
        assert relay.acknowledged() == []
        assert producer.waiting == []
        now += 10
        assert relay.acknowledged() == []
        assert producer.settles(KafkaError(KafkaError._MSG_TIMED_OUT)) == [b"task"]
    now += 10
    relay.acknowledged()
    assert producer.settles(None) == [b"task"]
    assert relay.acknowledged() == [Acknowledged("token", 3, 0)]


def test_the_largest_result_is_written_whatever_the_user_allows_a_record() -> None:
    settings = {"bootstrap.servers": "127.0.0.1:1", "message.max.bytes": "10000"}
    relay = WordRelay(settings, "shop.inbox", BrokerClock(), 2_000_000)
    relay.write(Said(0, "task", b"x" * 1_900_000, [("k", b"result")], "token"))
    assert relay.is_busy
