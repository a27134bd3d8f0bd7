"""The real source and sink, on a real cluster, keep what those in memory keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property

import pytest

from kafka_etl.contracts import Deployment
from kafka_etl.envelope import Provenance
from kafka_etl.invocation import Outputs, Settlement
from kafka_etl.kafka.settings import KafkaSourceSettings
from kafka_etl.kafka.sink.sink import KafkaSink
from kafka_etl.kafka.source.source import KafkaSource
from kafka_etl.record import Headers, Offsets, Partition, SourceRecord
from kafka_etl.testing import SinkContract, SourceContract, StoredRecord
from tests.kit.kafka import Kafka, Stored


def deployment(kafka: Kafka, group: str, member: str, letters: str | None = None) -> Deployment:
    about = Provenance(
        pipeline=group,
        config_hash="",
        group=group,
        worker=member,
        host="here",
        pid=1,
        kafka_etl="0",
        python="3",
        versions={},
    )
    return Deployment(
        pipeline=group,
        member=member,
        kafka={"bootstrap.servers": kafka.bootstrap},
        consumer={},
        producer={},
        provenance=about,
        dead_letter_topic=letters,
    )


def no_pulse(_trouble: str) -> None:
    """Nobody is watching."""


class KafkaSourceSystem:
    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.topic = kafka.topic(2)
        self.group = kafka.name()
        self._open = ExitStack()

    def append(
        self,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
    ) -> None:
        record = {"value": value, "key": key, "headers": headers or [], "partition": partition}
        self.kafka.produce(self.topic, [record])

    def leave_gap(self, partition: int) -> None:
        aborted = [{"value": b"never happened", "partition": partition}]
        self.kafka.produce_transactions(self.topic, [(aborted, False)])

    def end(self, partition: int) -> int:
        return self.kafka.ends(self.topic)[partition]

    def source(self, member: int = 0) -> KafkaSource:
        settings = KafkaSourceSettings(topics=(self.topic,))
        return KafkaSource(
            settings, deployment(self.kafka, self.group, self._name(member)), no_pulse
        )

    def commit(
        self, source: KafkaSource, progress: Offsets, notes: Mapping[Partition, str]
    ) -> None:
        self._sink.begin(Settlement(Outputs(), (), progress, source.lease, notes))()

    def close(self) -> None:
        self._open.close()

    @cached_property
    def _sink(self) -> KafkaSink:
        sink = KafkaSink("", deployment(self.kafka, self.group, self._name("sink")))
        sink.open()
        return self._open.enter_context(closing(sink))

    def _name(self, part: object) -> str:
        return f"{self.group}.{part}"


class KafkaSinkSystem:
    refused = b"x" * 50_000
    """More than the topic takes."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.topic = kafka.topic(1, max_message_bytes="20000")
        self.letters = kafka.topic(1)
        self.group = kafka.name()
        self.partition = Partition(kafka.topic(1), 0)
        self._open = ExitStack()

    def sink(self) -> KafkaSink:
        place = deployment(self.kafka, self.group, f"{self.group}.sink", self.letters)
        return KafkaSink(self.topic, place)

    def lease(self) -> object:
        return _lease_of(self._member)

    def void_lease(self) -> object:
        with closing(self._source("passing", "dynamic")) as source:
            return _lease_of(source)

    def outputs(self) -> Sequence[SourceRecord]:
        return [_as_source_record(stored) for stored in self.kafka.read(self.topic)]

    def dead_letters(self) -> Sequence[tuple[bytes | None, bytes | None]]:
        return [(stored.key, stored.value) for stored in self.kafka.read(self.letters)]

    def offset(self) -> int:
        return max(0, self.kafka.committed(self.group, self.partition.topic)[0])

    def note(self) -> str:
        return self.kafka.notes(self.group, self.partition.topic)[0]

    def close(self) -> None:
        self._open.close()

    @cached_property
    def _member(self) -> KafkaSource:
        return self._open.enter_context(closing(self._source("member", "static")))

    def _source(self, name: str, membership: str) -> KafkaSource:
        settings = KafkaSourceSettings.model_validate(
            {"topics": [self.partition.topic], "membership": membership}
        )
        place = deployment(self.kafka, self.group, f"{self.group}.{name}")
        return KafkaSource(settings, place, no_pulse)


def _lease_of(source: KafkaSource) -> object:
    while source.lease is None:
        source.poll(1)
    return source.lease


def _as_source_record(stored: Stored) -> StoredRecord:
    return StoredRecord(
        stored.value,
        stored.key,
        stored.headers,
        timestamp_ms=stored.timestamp,
        topic=stored.topic,
        partition=stored.partition,
        offset=stored.offset,
    )


class TestKafkaSource(SourceContract):
    @pytest.fixture
    def system(self, kafka: Kafka) -> Iterator[KafkaSourceSystem]:
        with closing(KafkaSourceSystem(kafka)) as system:
            yield system


class TestKafkaSink(SinkContract):
    @pytest.fixture
    def system(self, kafka: Kafka) -> Iterator[KafkaSinkSystem]:
        with closing(KafkaSinkSystem(kafka)) as system:
            yield system
