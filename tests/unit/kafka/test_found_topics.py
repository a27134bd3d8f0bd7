"""Topics by pattern: when the cluster is asked, and what comes of its answers."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from kafka_etl.contracts import Deployment, Unavailable
from kafka_etl.envelope import Provenance
from kafka_etl.errors import BrokersUnreachable, NotAuthorized, SinkBlocked, TopicNotCreated
from kafka_etl.kafka.settings import KafkaSinkSettings, KafkaSourceSettings
from kafka_etl.kafka.sink import found_topics
from kafka_etl.kafka.sink.found_topics import FoundTopics


class Cluster:
    """An admin client of a cluster in memory."""

    def __init__(self) -> None:
        self.now = 0.0
        self.here = {"eu-a": 2, "eu-b": 3, "eu-in": 1, "eu-dlq": 1}
        self.asked: list[list[str]] = []
        self.created: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None

    def topics(self, names: Any, _right: str) -> dict[str, int]:
        self.asked.append(sorted(names))
        if self.fails:
            raise self.fails
        return {name: self.here[name] for name in names if name in self.here}

    def settings_of(self, names: Any) -> dict[str, dict[str, str]]:
        return {
            name: {"max.message.bytes": "5000" if name == "eu-b" else "9000000"} for name in names
        }

    def create_topic(self, name: str, *how: Any) -> None:
        if name == "eu-bad":
            raise TopicNotCreated("no such name")
        self.created.append((name, *how))
        self.here[name] = how[0]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(found_topics, "reached", lambda _settings: made)
    monkeypatch.setattr(found_topics, "connections", lambda _pulse: nullcontext())
    monkeypatch.setattr(found_topics, "monotonic", lambda: made.now)
    return made


def topics(*, checked: bool = True, **more: Any) -> FoundTopics:
    settings = KafkaSinkSettings.model_validate({"topic": "out", "routes": ["^eu-"], **more})
    about = Provenance("g", "", "g", "g", "host", 1, "0", "3", {})
    limits = {"out": 1000} if checked else {}
    place = Deployment("g", "g", {}, {}, {}, about, dead_letter_topic="eu-dlq", size_limits=limits)
    source = KafkaSourceSettings(topics=("eu-in",))
    return FoundTopics(settings, source, place, dict(limits), {"eu-in": 7, "out": 9})


def test_an_answer_is_good_for_a_while(cluster: Cluster) -> None:
    found = topics()
    assert found.refused({"eu-a"}) == {}
    assert found.refused({"eu-a", "eu-b"}) == {}
    assert cluster.asked == [["eu-a"], ["eu-b"]]
    cluster.now = 29
    assert found.refused({"eu-a"}) == {}
    del cluster.here["eu-a"]
    cluster.now = 31
    assert "does not exist" in found.refused({"eu-a"})["eu-a"]
    cluster.here["eu-a"] = 2
    cluster.now = 62
    assert found.refused({"eu-a"}) == {}


def test_sizes_and_partitions_come_with_the_answer(cluster: Cluster) -> None:
    found = topics()
    found.refused({"eu-a", "eu-b", "eu-no"})
    assert found._limits == {"out": 1000, "eu-a": 1_000_000, "eu-b": 5000}
    assert found._partitions == {"eu-in": 7, "out": 9, "eu-a": 2, "eu-b": 3}
    assert len(cluster.asked) == 1


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("us-a", "nor one of its routes (^eu-)"),
        ("eu-a b", "nor one of its routes (^eu-)"),
        ("eu-\udc00", "nor one of its routes (^eu-)"),
        ("__eu-", "nor one of its routes (^eu-)"),
        ("", "nor one of its routes (^eu-)"),
        ("eu-in", "would make a loop"),
        ("eu-dlq", "topic of dead letters"),
    ],
)
def test_the_cluster_is_not_asked_about_a_name_that_never_fits(
    cluster: Cluster, topic: str, reason: str
) -> None:
    assert reason in topics(create={}).refused({topic})[topic]
    assert cluster.asked == []


def test_a_missing_topic_is_created_once(cluster: Cluster) -> None:
    found = topics(create={"config": {"retention.ms": 5}})
    assert found.refused({"eu-new", "eu-bad"}) == {"eu-bad": "no such name"}
    assert found.refused({"eu-new"}) == {}
    assert cluster.created == [("eu-new", 7, None, {"retention.ms": 5})]
    assert found._partitions["eu-new"] == 7


def test_nothing_is_asked_before_a_preflight(cluster: Cluster) -> None:
    assert list(topics(checked=False, create={}).refused({"eu-no", "us"})) == ["us"]
    assert cluster.asked == cluster.created == []


def test_no_record_is_to_blame_for_brokers_and_rights(cluster: Cluster) -> None:
    cluster.fails = BrokersUnreachable("nobody answers")
    with pytest.raises(Unavailable, match="nobody answers"):
        topics().refused({"eu-a"})
    cluster.fails = NotAuthorized("lacks WRITE")
    with pytest.raises(SinkBlocked, match="lacks WRITE"):
        topics().refused({"eu-a"})
