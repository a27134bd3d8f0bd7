"""The pipeline file as a frozen model. What a plug-in can be told is in its own model."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

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
    """Waits before the attempts after the first."""

    initial: Duration = Field(default=0.2, ge=0)
    factor: float = Field(default=2.0, ge=1, le=100)
    max: Duration = Field(default=30.0, ge=0, le=3600)
    jitter: Literal["full", "none"] = "full"

    def build(self) -> Backoff:
        return Backoff(self.initial, self.factor, self.max, self.jitter)


class RetrySpec(Settings):
    """Which errors are tried again, how often, and after how long.

    Attributes:
        max_attempts: Attempts in all, the first included.
        never: Further exception classes that are never tried again.
        only: When given, nothing else is tried again.
    """

    max_attempts: int = Field(default=4, ge=1, le=1000)
    backoff: BackoffSpec = BackoffSpec()
    never: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None


class OperatorUseSpec(UseSettings):
    """An operator, its settings, and the policies beside them.

    Attributes:
        name: In dead letters, logs and metrics; default: the last part of `use`.
        timeout: How long one record may take: then its worker is killed, or, where the operator
            is async, the call is cancelled, or, with `isolation`, its own process is killed.
        concurrency: Records in hand at the same time, of an operator that takes one at a time:
            in threads, or, where it is async, as tasks.
        order: Records that wait for each other: those of one key, of one partition, or none.
            Outputs stand in the order of the source in any case.
        isolation: `process`: in processes of its own, as many as `concurrency` says. One that dies
            or is killed costs the record in its hand, and nothing else.
        retry: Default: the pipeline's.
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
    """When too many records fail, the pipeline pauses instead of emptying its source."""

    max_consecutive: int = Field(default=1000, ge=1)


class DeadLetterSpec(Settings):
    """Where records go that failed for good.

    Attributes:
        topic: On the pipeline's own cluster, written in the same transaction as the outputs.
        format: `raw`: the original record, with everything about its failure in headers.
        create: Created when missing, with the source's number of partitions; `false` not to.
    """

    topic: Topic
    format: Literal["raw"] = "raw"
    create: CreateSettings | Literal[False] = CreateSettings()
    limit: LimitSpec = LimitSpec()


class PipelineSpec(Settings):
    """One pipeline file.

    Attributes:
        name: Unique in a daemon; part of the group member's and the producer's id.
        kafka: Client settings for every client, by librdkafka's names.
        consumer: Further ones for the consumer.
        producer: Further ones for the producer.
        registry: Settings of the schema registry's client, by its own names.
        guarantee: Left out: the strongest the parts can hold. Given: enforced.
        workers: Processes, each one member of the consumer group.
        drain_timeout: How long to finish what is in hand when told to stop.
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
