"""The way of a keeper's words to the inbox."""

from __future__ import annotations

from kafka_etl.kafka.client.broker_clock import BrokerClock
from kafka_etl.kafka.tasks.word_relay import WordRelay
from kafka_etl.tasks.keeping import Said


def test_the_largest_result_is_written_whatever_the_user_allows_a_record() -> None:
    settings = {"bootstrap.servers": "127.0.0.1:1", "message.max.bytes": "10000"}
    relay = WordRelay(settings, "shop.inbox", BrokerClock(), 2_000_000)
    relay.write(Said(0, "task", b"x" * 1_900_000, [("k", b"result")], "token"))
    assert relay.is_busy
