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


def _is_topic(name: str) -> bool:
    return _TOPIC.fullmatch(name) is not None and name not in {".", ".."}


def _check_topic(name: str) -> str:
    if not _is_topic(name):
        raise ValueError("should be a topic name: letters, digits, `.`, `_`, `-`, at most 249")
    return name


def _check_pattern(pattern: str) -> str:
    if (wrong := topic_pattern.objection(pattern)) is not None:
        raise ValueError(wrong)
    return pattern


def _check_route(route: str) -> str:
    if not topic_pattern.is_pattern(route):
        return _check_topic(route)
    if topic_pattern.matches(_check_pattern(route), _OFFSETS):
        raise ValueError(
            f"should not match {_OFFSETS}, which is Kafka's own; begin the pattern with what the "
            "topics' names begin with"
        )
    return route


Topic = Annotated[str, AfterValidator(_check_topic)]
Route = Annotated[str, AfterValidator(_check_route)]


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
        membership: `static`: a worker that is back within the session timeout (10 s) gets its
            partitions back without a rebalance; until then they rest. `dynamic`: the partitions of
            a worker that stops move to others at once.
    """

    topics: tuple[str, ...] = Field(min_length=1, examples=[["orders"]])
    group: str | None = Field(default=None, min_length=1, max_length=249)
    start: Literal["earliest", "latest"] | datetime = "earliest"
    membership: Literal["static", "dynamic"] = "static"

    @field_validator("start")
    @classmethod
    def _in_utc(cls, start: str | datetime) -> str | datetime:
        if isinstance(start, datetime) and start.tzinfo is None:
            return start.replace(tzinfo=UTC)
        return start

    @field_validator("topics", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_needs_no_list(cls, topics: object) -> object:
        return (topics,) if isinstance(topics, str) else topics

    @field_validator("topics")
    @classmethod
    def _names_or_one_pattern(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        patterns = list(filter(topic_pattern.is_pattern, topics))
        if not patterns:
            return tuple(map(_check_topic, topics))
        if len(topics) > 1:
            raise ValueError("should be topic names, or one regular expression, not both")
        if topic_pattern.matches(_check_pattern(patterns[0]), _OFFSETS):
            raise ValueError(
                f"should not match {_OFFSETS}: it gets a record for each commit, also of this "
                "pipeline; begin the pattern with what the topics' names begin with"
            )
        return topics

    @property
    def pattern(self) -> str | None:
        """The regular expression for the topics; None: the topics are listed by name."""
        return self.topics[0] if topic_pattern.is_pattern(self.topics[0]) else None

    def reads(self, topic: str) -> bool:
        if self.pattern is not None:
            return topic_pattern.matches(self.pattern, topic)
        return topic in self.topics


class OutputSettings(Settings):
    """Parts of outputs besides the value, as expressions that are computed after the operators.

    Attributes:
        topic: The topic, which is the sink's `topic` or fits its `routes`; null: `topic`.
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
        routes: Topics to which operators may route records with `Record.to`, and expressions with
            `set.topic`: names, and regular expressions that begin with ^. A topic that only fits an
            expression is looked up when a record names it for the first time.
        create: How to create missing topics among these; None: a missing topic is an error, and a
            record that names a missing topic by a regular expression becomes a dead letter.
        timestamp: `source`: outputs carry the timestamp of their source record.
        set: Topic, key, partition and headers of outputs by expression.
    """

    topic: Topic = Field(examples=["orders-eur"])
    routes: tuple[Route, ...] = ()
    create: CreateSettings | None = None
    timestamp: Literal["source"] | None = None
    set: OutputSettings | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        return (self.topic, *(r for r in self.routes if not topic_pattern.is_pattern(r)))

    @property
    def patterns(self) -> tuple[str, ...]:
        """The regular expressions among the routes."""
        return tuple(filter(topic_pattern.is_pattern, self.routes))

    def fits(self, topic: str) -> bool:
        """Whether records may go to a topic by one of the patterns, as far as its name tells.

        Topics whose names begin with `__` are Kafka's own.
        """
        if topic.startswith("__") or not _is_topic(topic):
            return False
        return any(topic_pattern.matches(pattern, topic) for pattern in self.patterns)

    @property
    def source_timestamp(self) -> bool:
        return self.timestamp == "source"


class ReplaySettings(SourceSettings):
    """Settings of a source that reads the dead letters which `dlq replay` has claimed.

    Attributes:
        topic: Dead-letter topic.
        action: Id of the bulk action that has claimed the letters.
        run: Id of the run that may move them; see `BulkAction.run`.
        release: Whether to give the letters back instead: they become open again.
        group: The consumer group, which has no member: its offsets say how far the replay is.
        rate: Records a second; None: as fast as they go.
        keep_failures: Whether the records keep the headers of their failures, for a replay to a
            topic: the next failure then goes on with their history.
        max_failures: Records that have failed this often are left alone: none goes round for ever.
    """

    topic: Topic
    action: str = Field(min_length=1, max_length=100)
    run: str = Field(default="", max_length=100)
    release: bool = False
    group: str = Field(min_length=1, max_length=249)
    rate: float | None = Field(default=None, gt=0)
    keep_failures: bool = False
    max_failures: int = Field(default=10, ge=1)
