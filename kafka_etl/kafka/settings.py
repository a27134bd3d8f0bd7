"""Settings of a Kafka source or sink in a pipeline file; the daemon reads them without a client."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator

from kafka_etl.contracts import ByteSinkSettings, Settings, SourceSettings
from kafka_etl.expression import Expression
from kafka_etl.kafka import topic_pattern

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_OFFSETS: Final = "__consumer_offsets"


def _check_topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise ValueError("should be a topic name: letters, digits, `.`, `_`, `-`, at most 249")
    return name


Topic = Annotated[str, AfterValidator(_check_topic)]


class CreateSettings(Settings):
    """How to create a topic that is missing.

    Attributes:
        partitions: Number of partitions; default: that of the source topic with the most.
        replication_factor: Copies of each partition; default: the broker's own default.
        config: Topic settings by Kafka's names.
    """

    partitions: int | None = Field(default=None, ge=1, le=100_000)
    replication_factor: int | None = Field(default=None, ge=1, le=1000)
    config: dict[str, str | int | float | bool] = Field(
        default_factory=dict[str, str | int | float | bool]
    )


class KafkaSourceSettings(SourceSettings):
    """Settings of a source that reads topics as a consumer group.

    Attributes:
        topics: Names of topics, or one regular expression that begins with ^; a single entry needs
            no list.
        group: The consumer group; default: the pipeline's name.
        start: First records to read of a topic in which the group has no offset: the earliest, the
            latest, or the records from a time on (UTC without a time zone).
        membership: `static`: a restarted worker gets its partitions back without a rebalance.
            `dynamic`: after the session timeout the partitions of a worker move to other workers.
    """

    topics: tuple[str, ...] = Field(min_length=1)
    group: str | None = Field(default=None, min_length=1, max_length=249)
    start: Literal["earliest", "latest"] | datetime = "earliest"
    membership: Literal["static", "dynamic"] = "static"

    @field_validator("start")
    @classmethod
    def _in_utc(cls, start: str | datetime) -> str | datetime:
        if isinstance(start, datetime) and start.tzinfo is None:
            return start.replace(tzinfo=UTC)
        return start

    @field_validator("topics", mode="before")
    @classmethod
    def _one_needs_no_list(cls, topics: object) -> object:
        return (topics,) if isinstance(topics, str) else topics

    @field_validator("topics")
    @classmethod
    def _names_or_one_pattern(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        patterns = [topic for topic in topics if topic.startswith("^")]
        if not patterns:
            return tuple(map(_check_topic, topics))
        if len(topics) > 1:
            raise ValueError("should be topic names, or one regular expression, not both")
        if (wrong := topic_pattern.objection(patterns[0])) is not None:
            raise ValueError(wrong)
        if topic_pattern.matches(patterns[0], _OFFSETS):
            raise ValueError(
                f"should not match {_OFFSETS}: it gets a record for each commit, also of this "
                "pipeline; begin the pattern with what the topics' names begin with"
            )
        return topics

    @property
    def pattern(self) -> str | None:
        """The regular expression for the topics; None: the topics are listed by name."""
        return self.topics[0] if self.topics[0].startswith("^") else None

    def reads(self, topic: str) -> bool:
        if self.pattern is not None:
            return topic_pattern.matches(self.pattern, topic)
        return topic in self.topics


class OutputSettings(Settings):
    """Parts of outputs besides the value, as expressions that are computed after the operators.

    Attributes:
        topic: The topic, which is the sink's `topic` or one of its `routes`; null: `topic`.
        key: The key; text is written as UTF-8 where no codec of keys is named.
        partition: Number of the partition; null: by the key.
        headers: Name -> value of the header: text, a number, true or false, or null.
    """

    topic: Expression | None = None
    key: Expression | None = None
    partition: Expression | None = None
    headers: dict[str, Expression] = Field(default_factory=dict[str, Expression])


class KafkaSinkSettings(ByteSinkSettings):
    """Settings of a sink that writes to topics of the pipeline's own cluster.

    Attributes:
        topic: Topic of records that no operator routes to another topic.
        routes: Topics to which operators may route records with `Record.to`.
        create: How to create missing topics among these; None: a missing topic is an error.
        timestamp: `source`: outputs carry the timestamp of their source record.
        set: Topic, key, partition and headers of outputs by expression.
    """

    topic: Topic
    routes: tuple[Topic, ...] = ()
    create: CreateSettings | None = None
    timestamp: Literal["source"] | None = None
    set: OutputSettings | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        return (self.topic, *self.routes)

    @property
    def source_timestamp(self) -> bool:
        return self.timestamp == "source"
