"""Batches of the Kafka source, cut from what a client would have delivered. No broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from kafka_etl.contracts import Arrival, Deployment, Reconnect
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.client.broker_silence import BrokerSilence
from kafka_etl.kafka.settings import KafkaSourceSettings
from kafka_etl.kafka.source import committed_offsets
from kafka_etl.kafka.source.committed_offsets import CommittedOffsets
from kafka_etl.kafka.source.source import KafkaSource
from kafka_etl.record import Partition
from kafka_etl.testing import StoredRecord

A, B = Partition("in", 0), Partition("in", 1)


class Delivered(StoredRecord):
    """As the client's own: it has a length."""

    def __len__(self) -> int:
        return len(self.value() or b"")


def delivered(partition: Partition, first: int, following: int) -> list[Any]:
    return [
        Delivered(b"x", topic=partition.topic, partition=partition.number, offset=offset)
        for offset in range(first, following)
    ]


@pytest.fixture
def source() -> Iterator[KafkaSource]:
    about = Provenance("g", "", "g", "g", "host", 1, "0", "3", {})
    kafka = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    source = KafkaSource(
        KafkaSourceSettings(topics=("in",)),
        Deployment("g", "g", kafka, {}, {}, about),
        lambda _waiting_for: None,
    )
    source._tracked, source._given = {A: 0, B: 0}, {A: 0, B: 0}
    yield source
    source.close()


def cut(source: KafkaSource, limit: int) -> dict[Partition, int]:
    batch = source._cut(limit)
    assert batch is not None
    return dict(batch.progress)


def test_an_end_counts_once_all_before_it_is_in_a_batch(source: KafkaSource) -> None:
    source._held, source._ends = delivered(A, 0, 4), {A: 6}
    assert cut(source, 2) == {A: 2}
    assert cut(source, 2) == {A: 6}


def test_an_end_that_was_passed_takes_no_batch_back_to_it(source: KafkaSource) -> None:
    """Batches follow each other before the first is settled: a commit of it is under way."""
    source._held, source._ends = delivered(A, 0, 4), {A: 4}
    assert cut(source, 4) == {A: 4}
    source._held = delivered(A, 4, 9)
    assert cut(source, 9) == {A: 9}
    source._held = delivered(B, 0, 3)
    assert cut(source, 3) == {B: 3}
    assert source._cut(3) is None
    assert not source._end_is_due()


def test_an_end_that_was_passed_within_a_batch_is_none(source: KafkaSource) -> None:
    source._held, source._ends = delivered(A, 0, 9), {A: 4}
    assert cut(source, 9) == {A: 9}
    source._held = delivered(B, 0, 3)
    assert cut(source, 3) == {B: 3}


@pytest.fixture
def sought(source: KafkaSource) -> dict[Partition, int]:
    """Where the client was told to read on, since the test last emptied this."""
    told: dict[Partition, int] = {}
    source._seek = told.update  # type: ignore[method-assign]
    return told


def serve_until_paused(source: KafkaSource) -> None:
    while not source._holding:
        source.serve()


def test_what_was_given_away_is_not_read_again_after_serving(
    source: KafkaSource, sought: dict[Partition, int]
) -> None:
    """A commit of it may be under way: what is settled is behind."""
    source._held = [*delivered(A, 0, 4), *delivered(B, 0, 4)]
    cut(source, 6)
    serve_until_paused(source)
    source._release()
    assert sought == {A: 4, B: 4}


def test_a_client_that_was_served_a_few_times_is_neither_paused_nor_told_to_seek(
    source: KafkaSource, sought: dict[Partition, int]
) -> None:
    for _ in range(10):
        for _ in range(5):
            source.serve()
        source._release()
    assert not source._holding
    assert sought == {}


def test_few_of_many_partitions_are_sought_after_a_pause(
    source: KafkaSource, sought: dict[Partition, int]
) -> None:
    many = [Partition("in", number) for number in range(2000)]
    source._tracked = dict.fromkeys(many, 7) | {A: 0, B: 0}
    source._given = source._tracked | {many[1500]: 9}
    serve_until_paused(source)
    source.rewind()
    assert len(sought) == 33
    assert sought[many[1500]] == 7
    assert A not in sought  # a seek to offset 0 wakes no client


def test_offsets_that_nobody_tells_ask_for_a_new_client(
    source: KafkaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committed_offsets, "_PATIENCE", 0)
    monkeypatch.setattr(committed_offsets, "_REQUEST", 0.05)
    with pytest.raises(Reconnect, match="reading committed offsets failed: _TIMED_OUT"):
        source.reload()


def test_after_a_rewind_all_that_was_given_away_is_read_again(
    source: KafkaSource, sought: dict[Partition, int]
) -> None:
    source._held = delivered(A, 0, 4)
    cut(source, 4)
    source.rewind()
    assert sought == {A: 0}
    source._held = delivered(A, 0, 1)
    assert cut(source, 4) == {A: 1}


def test_after_a_rewind_all_that_was_held_is_read_again(
    source: KafkaSource, sought: dict[Partition, int]
) -> None:
    source._held = [*delivered(A, 0, 4), *delivered(B, 0, 4)]
    source.advance(cut(source, 4))
    source.rewind()
    assert sought == {B: 0}


def test_a_rewind_keeps_the_ends_of_partitions_that_stay_where_they_are(
    source: KafkaSource,
) -> None:
    """The client reports an end once, until it is told to seek."""
    source._ends = {A: 2}
    source.rewind()
    assert cut(source, 4) == {A: 2}


class Asked:
    """A client that counts what it is asked: the group has offsets in one of three partitions."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def committed(self, partitions: list[Any], timeout: float) -> list[TopicPartition]:
        self.calls.append("committed")
        if len(self.calls) == 1:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        found = [TopicPartition(p.topic, p.partition, -1001) for p in partitions]
        found[0] = TopicPartition("in", 0, 7, "careful")
        return found

    def offsets_for_times(self, partitions: list[Any], timeout: float) -> list[TopicPartition]:
        self.calls.append(f"first of {len(partitions)}")
        assert {p.offset for p in partitions} == {OFFSET_BEGINNING}
        return [TopicPartition(p.topic, p.partition, p.partition) for p in partitions]


def test_where_partitions_begin_is_asked_for_all_at_once() -> None:
    client, waited = Asked(), list[str]()
    committed = CommittedOffsets(cast("Consumer", client), BrokerSilence(), waited.append)
    found = committed.read([TopicPartition("in", number) for number in range(2000)])
    assert client.calls == ["committed", "committed", "first of 1999"]
    assert len(waited) == 1
    assert found[A] == Arrival(7, "careful")
    assert found[B] == Arrival(1, "")
    assert found[Partition("in", 1999)] == Arrival(1999, "")
