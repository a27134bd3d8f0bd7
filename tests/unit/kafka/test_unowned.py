"""When a member looks for partitions without an owner, and what a look finds. No broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from kafka_etl.errors import BrokersUnreachable
from kafka_etl.kafka.source import unowned
from kafka_etl.kafka.source.unowned import UnownedPartitions
from kafka_etl.record import Partition

A, B, C = Partition("in", 0), Partition("in", 1), Partition("other", 0)


class Cluster:
    """In place of `Admin`, and of the thread and the clock of the looks."""

    owned_partitions: frozenset[Partition] | None = frozenset()
    counts: Mapping[str, int] = {"in": 2, "other": 1, "foreign": 9}
    away = False

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0

    def owned(self, _group: str) -> frozenset[Partition] | None:
        self.looks += 1
        if self.away:
            raise BrokersUnreachable("no broker answers")
        return self.owned_partitions

    def topics(self, names: Iterable[str], _right: str) -> dict[str, int]:
        return {name: self.counts[name] for name in names}


class AtOnce:
    def __init__(self, target: Any, **_: Any) -> None:
        self.start = target


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(unowned, "Admin", lambda _settings: cluster)
    monkeypatch.setattr(unowned, "Thread", AtOnce)
    monkeypatch.setattr(unowned, "monotonic", lambda: cluster.now)
    return cluster


def found(group: UnownedPartitions, cluster: Cluster, *, at: float) -> frozenset[Partition]:
    cluster.now = at
    return group.look()


def test_a_member_looks_after_a_usual_rebalance_and_then_every_minute(cluster: Cluster) -> None:
    group = UnownedPartitions({}, "g", ["in"])
    for at in (0, 1, 2.9):
        assert not found(group, cluster, at=at)
    assert cluster.looks == 0
    assert found(group, cluster, at=3) == {A, B}
    assert not found(group, cluster, at=4)
    assert not found(group, cluster, at=62.9)
    assert found(group, cluster, at=63) == {A, B}
    assert cluster.looks == 2


@pytest.mark.parametrize(
    ("topics", "owned", "unread"),
    [
        (["in"], {A, B}, set()),
        (["in"], {B}, {A}),
        (["in", "other"], {A, B}, {C}),
        (["^.*"], {B}, {A}),  # which topics a pattern fits is told by their owners
        (["^.*"], set(), set()),
        (["in"], None, set()),  # a rebalance is under way
    ],
)
def test_a_partition_of_a_read_topic_without_an_owner_is_found(
    cluster: Cluster, topics: list[str], owned: set[Partition] | None, unread: set[Partition]
) -> None:
    group = UnownedPartitions({}, "g", topics)
    cluster.owned_partitions = None if owned is None else frozenset(owned)
    group.look()
    assert found(group, cluster, at=3) == unread


def test_a_look_without_an_answer_finds_nothing(cluster: Cluster) -> None:
    group = UnownedPartitions({}, "g", ["in"])
    cluster.away = True
    group.look()
    assert not found(group, cluster, at=3)
    cluster.away = False
    assert found(group, cluster, at=63) == {A, B}
