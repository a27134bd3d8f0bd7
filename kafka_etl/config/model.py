"""The frozen models of a pipeline file; each plug-in has its own model of its settings."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from kafka_etl.config.case_model import CaseSpec
from kafka_etl.contracts import Guarantee, Settings, UseSettings, bare_string_is_use
from kafka_etl.functions.bind import Isolation, Order
from kafka_etl.kafka.settings import CreateSettings, Topic
from kafka_etl.retry import Backoff
from kafka_etl.units import Duration

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?")

ClientValue = str | int | float | bool


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("should be lower-case letters, digits, `-`, `.` or `_`, at most 100")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


class BackoffSpec(Settings):
    """The waits before the attempts after the first one.

    Attributes:
        initial: Wait before the second attempt.
        factor: Factor by which each wait exceeds the one before.
        max: Longest wait.
        jitter: `full`: a random part of the wait; `none`: the whole wait.
    """

    initial: Duration = Field(default=0.2, ge=0)
    factor: float = Field(default=2.0, ge=1, le=100)
    max: Duration = Field(default=30.0, ge=0, le=3600)
    jitter: Literal["full", "none"] = "full"

    def build(self) -> Backoff:
        return Backoff(self.initial, self.factor, self.max, self.jitter)


class RetrySpec(Settings):
    """The retry policy: the errors that are retried, the number of attempts, and the waits.

    Attributes:
        max_attempts: Number of attempts, including the first.
        backoff: Waits before further attempts.
        never: Names of exception classes that are not retried, besides the built-in list.
        only: Names of the only exception classes that are retried; None: all classes but `never`.
    """

    max_attempts: int = Field(default=4, ge=1, le=1000)
    backoff: BackoffSpec = BackoffSpec()
    never: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None


class OperatorUseSpec(UseSettings):
    """One use of an operator in a pipeline: the operator's settings and policies.

    Attributes:
        name: Name in dead letters, logs and metrics; None: the last part of `use`.
        timeout: Time that a call may take for one record. After the timeout the call of an async
            operator is cancelled, the process of an operator with `isolation` is killed, and for
            any other operator the worker is killed.
        concurrency: Number of records that an operator on single records processes at the same
            time, in threads, or as asyncio tasks if the operator is async.
        order: Records that are processed one after the other: records of one key, records of one
            partition, or none. Outputs keep the order of the source in any case.
        isolation: `process`: the operator runs in `concurrency` processes of its own, and the death
            of such a process affects only the record in progress.
        retry: Retry policy of the operator; None: the pipeline's.
    """

    name: Name | None = None
    timeout: Duration = Field(default=300.0, gt=0, le=86_400)
    concurrency: int = Field(default=1, ge=1, le=1024)
    order: Order = Order.KEY
    isolation: Isolation = Isolation.NONE
    retry: RetrySpec | None = None

    @property
    def label(self) -> str:
        return self.name or re.split(r"[:.]", self.use)[-1]


Use = Annotated[UseSettings, BeforeValidator(bare_string_is_use)]
OperatorUse = Annotated[OperatorUseSpec, BeforeValidator(bare_string_is_use)]


class LimitSpec(Settings):
    """The limits of the breaker, which pauses the pipeline; each worker counts for itself.

    Attributes:
        max_consecutive: Number of dead letters in a row that pauses the pipeline.
        max_ratio: Share of dead letters among the last `window` records that pauses the pipeline,
            above 0 and at most 1; None: no limit.
        window: Number of the last records to which `max_ratio` applies.
        min_records: Number of records, since the start or the last resume, before which `max_ratio`
            does not apply.
        new_kinds_within: Time after a change of an operator or of the configuration during which a
            dead letter with a fingerprint that is new in the dead-letter topic pauses the pipeline;
            None: a new kind pauses nothing.
    """

    max_consecutive: int = Field(default=1000, ge=1)
    max_ratio: float | None = Field(default=None, gt=0, le=1)
    window: int = Field(default=1000, ge=1, le=100_000)
    min_records: int = Field(default=100, ge=1)
    new_kinds_within: Duration | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _window_of_a_ratio(self) -> Self:
        given = self.model_fields_set & {"window", "min_records"}
        if self.max_ratio is None and given:
            names = " and ".join(f"`{name}`" for name in sorted(given))
            raise ValueError(f"{names} belong to `max_ratio`, which is not set")
        if self.max_ratio is not None and self.min_records > self.window:
            raise ValueError(
                f"`min_records` ({self.min_records}) should be at most `window` ({self.window})"
            )
        return self


Notice = Literal["breaker_opened", "new_kind"]


class HookSpec(Settings):
    """A place that is told when the breaker opens, and when a new kind of dead letter appears.

    Attributes:
        url: Address to which the notice is sent, by HTTP POST.
        topic: Topic on the pipeline's own cluster to which the notice is written.
        only: The notices that are sent; None: all.
    """

    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#@]+([/?]\S*)?$",
        examples=["https://hooks.example/dead-letters"],
    )
    topic: Topic | None = None
    only: tuple[Notice, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.url is None) == (self.topic is None):
            raise ValueError("needs one of `url` and `topic`")
        return self


class DeadLetterSpec(Settings):
    """Where the records go that fail permanently: a topic, a table of the sink, or another sink.

    Attributes:
        topic: Topic on the pipeline's own cluster. With the Kafka sink, dead letters are written in
            the same transaction as outputs; with other sinks, before.
        table: Table of the sink's own store, in the same transaction as rows.
        use: Name of a sink to which dead letters are written before offsets move, such as a queue.
        with_: Settings of that sink.
        format: `raw`: the original record, with the data of its failure in headers, by default in a
            topic. `envelope`: one JSON document with everything, by default in other places.
        compat: `connect`: a dead letter in a topic has Kafka Connect's headers in addition to our
            own, for tools that read Connect's dead letters.
        claim_check: URL of a folder or bucket that keeps whole documents that are too large for a
            message of `use`; None: they are cut.
        create: Settings with which preflight creates a missing topic, including those of `hooks`,
            by default with the source's number of partitions; False: a missing topic is an error.
        limit: Limits of the breaker.
        hooks: Places that are notified when the breaker opens, or when a new kind of dead letter
            appears.
    """

    topic: Topic | None = None
    table: str | None = Field(default=None, min_length=1)
    use: str | None = Field(default=None, min_length=1)
    with_: dict[str, Any] = Field(default_factory=dict[str, Any], alias="with")
    format: Literal["raw", "envelope"] | None = None
    compat: Literal["connect"] | None = None
    claim_check: str | None = Field(
        default=None,
        pattern=r"^(file:///|(s3|gs|az)://)[^?#]+$",
        examples=["s3://bucket/dead-letters"],
    )
    create: CreateSettings | Literal[False] = CreateSettings()
    limit: LimitSpec = LimitSpec()
    hooks: tuple[HookSpec, ...] = ()

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("topic", "table", "use") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "needs one of `topic`, `table` (of a store) and `use` (another sink)"
                + (f", not {' and '.join(given)}" if given else "")
            )
        if self.with_ and self.use is None:
            raise ValueError("`with` belongs to `use`")
        if self.topic is None and self.format == "raw":
            raise ValueError("`format: raw` is for a topic, whose records have headers")
        if self.compat is not None and self.written_as == "envelope":
            raise ValueError("`compat` belongs to `format: raw` in a topic, which has headers")
        if self.claim_check is not None and self.use is None:
            raise ValueError("`claim_check` belongs to `use`, a sink with small messages")
        if self.limit.new_kinds_within is not None and self.topic is None:
            raise ValueError("`new_kinds_within` needs `topic`, which holds the known kinds")
        return self

    @property
    def place(self) -> str:
        """Where dead letters go, in words: `topic orders.dlq`, `table failed`, `sink http`."""
        if self.topic is not None:
            return f"topic {self.topic}"
        return f"table {self.table}" if self.table is not None else f"sink {self.use}"

    @property
    def hook_topics(self) -> list[str]:
        """Topics to which notices are written."""
        return [hook.topic for hook in self.hooks if hook.topic is not None]

    @property
    def written_as(self) -> Literal["raw", "raw+connect", "envelope"]:
        """The format, or the usual one of the place; `raw+connect`: `raw` with `compat`."""
        if self.format == "envelope" or self.topic is None:
            return "envelope"
        return "raw" if self.compat is None else "raw+connect"


class PipelineSpec(Settings):
    """The content of one pipeline file.

    Attributes:
        name: Name of the pipeline, unique in a daemon; a part of the workers' member ids and
            transactional ids.
        kafka: Settings of every Kafka client, by librdkafka's names.
        consumer: Further settings of the consumer, by librdkafka's names.
        producer: Further settings of the producer, by librdkafka's names.
        registry: Settings of the schema registry's client, by that client's names.
        source: Source plug-in and its settings.
        operators: Operators, in the order in which records pass them.
        sink: Sink plug-in and its settings.
        guarantee: Guarantee that the pipeline must hold; None: the guarantee of the sink.
        retry: Retry policy of all operators without their own.
        dead_letter: Place of dead letters; None: a record that fails for good stops the pipeline.
        workers: Number of worker processes, each one member of the consumer group.
        drain_timeout: Time that a stopping worker may take to finish the records in progress.
        tests: Cases for `kafka-etl test`; nothing else reads them.
    """

    name: Name
    kafka: dict[str, ClientValue] = Field(default_factory=dict[str, ClientValue])
    consumer: dict[str, ClientValue] = Field(default_factory=dict[str, ClientValue])
    producer: dict[str, ClientValue] = Field(default_factory=dict[str, ClientValue])
    registry: dict[str, ClientValue] = Field(default_factory=dict[str, ClientValue])
    source: Use
    operators: tuple[OperatorUse, ...] = ()
    sink: Use
    guarantee: Guarantee | None = None
    retry: RetrySpec = RetrySpec()
    dead_letter: DeadLetterSpec | None = None
    workers: int = Field(default=1, ge=1, le=256)
    drain_timeout: Duration = Field(default=10.0, ge=0, le=3600)
    tests: tuple[CaseSpec, ...] = ()
