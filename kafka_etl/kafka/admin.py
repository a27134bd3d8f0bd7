"""Questions and orders to the cluster, each answered with our own errors.

Made in a process of its own and thrown away: an admin client kept for long does not survive every
broker restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    TopicCollection,
    TopicPartition,
    admin,
)

from kafka_etl.errors import NotAuthorized, TopicNotCreated
from kafka_etl.kafka import classify
from kafka_etl.log import client_logger
from kafka_etl.record import Partition

Right = Literal["READ", "WRITE"]

_REQUEST: Final = 10.0
_api: Any = admin  # its hints are partial and contradict each other; the tests check what we use


class Admin:
    """A short-lived connection for preflight.

    Every method raises `KafkaEtlError`: BrokersUnreachable, TopicMissing, NotAuthorized, …
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._brokers = settings.get("bootstrap.servers", "")
        self._client = _api.AdminClient({**settings}, logger=client_logger())

    def topics(self) -> dict[str, int]:
        """Every topic this user can see, with its number of partitions."""
        try:
            listed = self._client.list_topics(timeout=_REQUEST)
        except KafkaException as raised:
            error = classify.error_of(raised)
            raise classify.explained(error, f"asking {self._brokers} for its topics") from raised
        return {name: len(topic.partitions) for name, topic in listed.topics.items()}

    def require_rights(self, topics: Iterable[str], right: Right) -> None:
        """Each topic exists and this user has the right to it."""
        names = sorted(set(topics))
        if not names:
            return
        asked = self._client.describe_topics(
            TopicCollection(names),
            include_authorized_operations=True,
            request_timeout=_REQUEST,
        )
        for name, future in asked.items():
            described = self._result(future, f"looking at topic {name}")
            _require(described.authorized_operations, right, f"topic {name}")

    def require_group_rights(self, group: str, right: Right) -> None:
        asked = self._client.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=_REQUEST
        )
        described = self._result(asked[group], f"looking at group {group}")
        _require(described.authorized_operations, right, f"group {group}")

    def settings_of(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Topic settings by name; empty for a topic whose settings this user may not read."""
        resources = [_api.ConfigResource(_api.ResourceType.TOPIC, name) for name in topics]
        if not resources:
            return {}
        found: dict[str, dict[str, str]] = {}
        for resource, future in self._client.describe_configs(
            resources, request_timeout=_REQUEST
        ).items():
            try:
                entries = self._result(future, f"reading settings of topic {resource.name}")
                found[resource.name] = {name: entry.value for name, entry in entries.items()}
            except NotAuthorized:
                found[resource.name] = {}
        return found

    def create_topic(
        self, name: str, partitions: int, replication: int | None, config: Mapping[str, Any]
    ) -> None:
        """Create a topic; somebody else having done so meanwhile is as good."""
        topic = _api.NewTopic(
            name,
            partitions,
            -1 if replication is None else replication,
            config={key: _as_text(value) for key, value in config.items()},
        )
        future = self._client.create_topics([topic], operation_timeout=_REQUEST)[name]
        try:
            future.result(timeout=2 * _REQUEST)
        except KafkaException as raised:
            error = classify.error_of(raised)
            if error.name() == "TOPIC_ALREADY_EXISTS":
                return
            stop = classify.final(error, f"creating topic {name}")
            raise stop or TopicNotCreated(
                f"topic {name} could not be created: {error.name()}: {error.str()}"
            ) from raised

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Offsets the group has committed; partitions without one are left out."""
        wanted = [TopicPartition(*tp) for tp in partitions]
        asked = self._client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=_REQUEST
        )
        answer = self._result(asked[group], f"reading the offsets of group {group}")
        found: list[Any] = answer.topic_partitions
        return {Partition(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    def earliest(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset of each partition that is still there."""
        return self._offsets(partitions, _api.OffsetSpec.earliest())

    def latest(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset after the last committed record of each partition."""
        return self._offsets(partitions, _api.OffsetSpec.latest())

    def at_time(self, partitions: Iterable[Partition], ms: int) -> dict[Partition, int]:
        """The first offset at or after a time in each partition; -1 where there is none."""
        return self._offsets(partitions, _api.OffsetSpec.for_timestamp(ms))

    def _offsets(self, partitions: Iterable[Partition], spec: Any) -> dict[Partition, int]:
        wanted = {TopicPartition(*tp): spec for tp in partitions}
        if not wanted:
            return {}
        asked = self._client.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_REQUEST
        )
        return {
            Partition(p.topic, p.partition): self._result(
                future, f"looking up offsets of {p.topic}[{p.partition}]"
            ).offset
            for p, future in asked.items()
        }

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> bool:
        """Set the offsets of a group without members. False: it has members, nothing is set."""
        wanted = [TopicPartition(*tp, offset) for tp, offset in offsets.items()]
        asked = self._client.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=_REQUEST
        )
        try:
            answer = asked[group].result(timeout=2 * _REQUEST)
        except KafkaException as raised:
            return self._refused(classify.error_of(raised), group)
        failed = [p.error for p in answer.topic_partitions if p.error is not None]
        return self._refused(failed[0], group) if failed else True

    @staticmethod
    def _refused(error: Any, group: str) -> bool:
        if classify.routine(error) or error.name() == "NON_EMPTY_GROUP":
            return False
        raise classify.explained(error, f"setting the first offsets of group {group}")

    @staticmethod
    def _result(future: Any, what: str) -> Any:
        try:
            return future.result(timeout=2 * _REQUEST)
        except KafkaException as raised:
            raise classify.explained(classify.error_of(raised), what) from raised


def _require(allowed: Any, right: Right, what: str) -> None:
    if allowed is not None and right not in {operation.name for operation in allowed}:
        raise NotAuthorized(f"this user lacks the right {right} on {what}")


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
