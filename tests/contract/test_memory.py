"""The source and sink in memory keep what the real ones keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from kafka_etl.record import Headers, Offsets, Partition
from kafka_etl.testing import (
    MemoryBroker,
    MemorySink,
    MemorySource,
    SinkContract,
    SourceContract,
    StoredRecord,
)

PARTITIONS = (Partition("in", 0), Partition("in", 1))


class MemorySourceSystem:
    """Two members share the partitions as soon as there are two."""

    topic = "in"

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.broker.create("in", 2)
        self.members: dict[int, MemorySource] = {}

    def append(
        self,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
    ) -> None:
        self.broker.append("in", value, key, headers, partition=partition)

    def leave_gap(self, partition: int) -> None:
        self.broker.leave_gap(PARTITIONS[partition])

    def end(self, partition: int) -> int:
        return self.broker.end(PARTITIONS[partition])

    def source(self, member: int = 0) -> MemorySource:
        if member == 0:
            self.members[0] = MemorySource(self.broker, PARTITIONS)
        else:
            self.members[0].revoke(PARTITIONS[1])
            self.members[0].serve()
            self.members[1] = MemorySource(self.broker, PARTITIONS[1:])
        return self.members[member]

    def commit(
        self, source: MemorySource, progress: Offsets, notes: Mapping[Partition, str]
    ) -> None:
        assert self.broker.is_member(source.lease)
        self.broker.offsets.update(progress)
        self.broker.notes.update({tp: notes.get(tp, "") for tp in progress})


class MemorySinkSystem:
    partition = PARTITIONS[0]
    refused = b"refused"

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.broker.create("in", 2)
        self.broker.create("out")
        self.member = MemorySource(self.broker, PARTITIONS)

    def sink(self) -> MemorySink:
        sink = MemorySink(self.broker, "out")
        sink.refuses = lambda value: value == self.refused
        return sink

    def lease(self) -> object:
        self.member.serve()
        return self.member.lease

    def void_lease(self) -> object:
        lease = self.lease()
        self.member.expel()
        return lease

    def outputs(self) -> Sequence[StoredRecord]:
        return self.broker.records("out")

    def dead_letters(self) -> Sequence[tuple[bytes | None, bytes | None]]:
        return [(d.record.key(), d.record.value()) for d in self.broker.dead_letters]

    def offset(self) -> int:
        return self.broker.offsets.get(self.partition, 0)

    def note(self) -> str:
        return self.broker.notes[self.partition]


class TestMemorySource(SourceContract):
    @pytest.fixture
    def system(self) -> MemorySourceSystem:
        return MemorySourceSystem()


class TestMemorySink(SinkContract):
    @pytest.fixture
    def system(self) -> MemorySinkSystem:
        return MemorySinkSystem()
