"""What preflight finds before it asks a broker anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition

from kafka_etl.contracts import Deployment
from kafka_etl.errors import BrokersUnreachable, KafkaRefused
from kafka_etl.kafka.cluster import admin
from kafka_etl.kafka.preflight import check_producer, check_source
from kafka_etl.kafka.settings import KafkaSourceSettings
from kafka_etl.record import Partition
from kafka_etl.testing import deployment

SOURCE = KafkaSourceSettings(topics=("in",))
PLACE = deployment(kafka={"bootstrap.servers": "127.0.0.1:1", "log_level": 0})


def test_settings_that_the_producer_refuses() -> None:
    check_producer(PLACE)
    with pytest.raises(KafkaRefused, match="gibberish"):
        check_producer(replace(PLACE, producer={"compression.type": "gibberish"}))


def test_a_size_limit_of_a_topic_that_the_producer_refuses() -> None:
    with pytest.raises(KafkaRefused, match=r"message\.max\.bytes"):
        check_producer(replace(PLACE, size_limits={"out": 2_000_000_000}))


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (replace(PLACE, consumer={"session.timeout.ms": 0}), "session.timeout.ms"),
        (replace(PLACE, kafka={**PLACE.kafka, "security.protocol": "gibberish"}), "gibberish"),
    ],
)
def test_settings_that_the_consumer_refuses(place: Deployment, says: str) -> None:
    with pytest.raises(KafkaRefused, match=says):
        check_source(SOURCE, place)


def test_what_it_waits_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_REACHED_WITHIN", 0.0)
    monkeypatch.setattr(admin, "_FIRST_ANSWER", 0.1)
    told: list[str] = []

    def hear(waiting_for: str) -> None:
        told.append(waiting_for)
        monkeypatch.setattr(admin, "monotonic", lambda: float("inf"))

    monkeypatch.setattr(admin, "monotonic", lambda: float("-inf"))
    with pytest.raises(BrokersUnreachable), admin.connections(hear):
        check_source(SOURCE, PLACE)
    (waiting_for,) = told
    assert waiting_for.startswith("asking 127.0.0.1:1 for its topics failed: no broker answered")


def test_first_offsets_are_set_in_portions_that_a_broker_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broker writes those of one request as one batch, which may hold 1 MiB."""
    portions: list[int] = []

    def note(_admin: admin.Admin, _group: str, offsets: list[TopicPartition]) -> bool:
        portions.append(len(offsets))
        return True

    monkeypatch.setattr(admin.Admin, "_commit", note)
    many = {Partition("in", number): 0 for number in range(2500)}
    assert admin.Admin({}).commit("g", many)
    assert portions == [1000, 1000, 500]


def test_hundreds_of_names_are_cut_short() -> None:
    assert admin.listed(["a", "b"]) == "a, b"
    assert admin.listed([str(n) for n in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
