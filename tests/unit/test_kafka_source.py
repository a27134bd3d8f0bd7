"""Batches of the Kafka source, cut from what a client would have delivered. No broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from kafka_etl.contracts import Arrival, Deployment, Reconnect
from kafka_etl.envelope import Provenance
from kafka_etl.kafka import committed_offsets
from kafka_etl.kafka.broker_silence import BrokerSilence
from kafka_etl.kafka.committed_offsets import CommittedOffsets
from kafka_etl.kafka.settings import KafkaSourceSettings
from kafka_etl.kafka.source import KafkaSource
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


def test_what_was_given_away_is_not_read_again_after_serving(source: KafkaSource) -> None:
    """A commit of it may be under way: what is settled is behind."""
    sought: dict[Partition, int] = {}
    source._seek = sought.update  # type: ignore[method-assign]
    source._held = [*delivered(A, 0, 4), *delivered(B, 0, 4)]
    cut(source, 6)
    source.serve()
    source._release()
    assert sought == {A: 4, B: 4}


def test_offsets_that_nobody_tells_ask_for_a_new_client(
    source: KafkaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committed_offsets, "_PATIENCE", 0)
    monkeypatch.setattr(committed_offsets, "_REQUEST", 0.05)
    with pytest.raises(Reconnect, match="reading committed offsets failed: _TIMED_OUT"):
        source.reload()


def test_after_a_rewind_all_that_was_given_away_is_read_again(source: KafkaSource) -> None:
    sought: dict[Partition, int] = {}
    source._seek = sought.update  # type: ignore[method-assign]
    source._held = delivered(A, 0, 4)
    cut(source, 4)
    source.rewind()
    assert sought == {A: 0, B: 0}
    source._held = delivered(A, 0, 1)
    assert cut(source, 4) == {A: 1}


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
