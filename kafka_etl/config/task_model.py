"""The model of a pipeline file with `mode: task`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from kafka_etl.config.case_model import CaseSpec
from kafka_etl.config.model import (
    ClientValue,
    DeadLetterSpec,
    Name,
    RetrySpec,
    Use,
)
from kafka_etl.config.parse import is_list
from kafka_etl.contracts import Settings, UseSettings, bare_string_is_use
from kafka_etl.expression import Expression
from kafka_etl.kafka.settings import Topic
from kafka_etl.tasks.limits import MAX_RESULT
from kafka_etl.tasks.log_records import TOPIC
from kafka_etl.tasks.placing import Order
from kafka_etl.tasks.policy import OnDuplicate
from kafka_etl.units import Duration, Size, show_duration

_DAY = 86_400.0
_DRAIN, _LONGEST_DRAIN = 10.0, 3600.0
_WORDS_WITHIN = 5.0
"""Seconds that the last words of attempts may take into the inbox."""
_MOST_LOGS = 64 * 2**20
_MOST_RESULT = 64 * 2**20


class LimitsSpec(Settings):
    """What one attempt may use, together with all processes that it starts.

    Attributes:
        memory: Bytes of memory.
        cpu: Seconds of CPU time.
    """

    memory: Size | None = Field(default=None, ge=64 * 1024 * 1024)
    cpu: Duration | None = Field(default=None, ge=1)


class TaskRetrySpec(RetrySpec):
    """The retry policy of a task pipeline, whose attempts take longer than those of a stream.

    Attributes:
        max_attempts: Number of attempts, including the first.
    """

    max_attempts: int = Field(default=3, ge=1, le=1000)


class TaskOperatorSpec(UseSettings):
    """The operator of a task pipeline.

    Attributes:
        name: Name in dead letters and logs; None: the last part of `use`.
        concurrency: Number of attempts that run at the same time, on each host.
        timeout: Time that an attempt may take.
        stop_grace: Time that an attempt has to end once it was told to stop.
        retry: Retry policy; None: the pipeline's.
        idempotent: Whether an attempt that may have begun may be followed by another.
        lost_after: Silence of a host after which its attempts are taken for lost and are run
            elsewhere; None: a hundredth of `timeout`, at least a minute and at most ten.
        max_result: Bytes of the largest result; one that is larger fails for good. The inbox has to
            take it.
        limits: What an attempt may use; an attempt that uses more is killed, which counts.
        pool: `warm`: a process serves one attempt after the other; `fresh`: each attempt has a
            process of its own.
    """

    name: Name | None = None
    concurrency: int = Field(default=1, ge=1, le=1024)
    timeout: Duration = Field(default=3600.0, gt=0, le=7 * _DAY)
    stop_grace: Duration = Field(default=10.0, ge=0, le=3600)
    retry: TaskRetrySpec | None = None
    idempotent: bool = True
    lost_after: Duration | None = Field(default=None, ge=10, le=3600)
    max_result: Size = Field(default=MAX_RESULT, ge=1024, le=_MOST_RESULT)
    limits: LimitsSpec = LimitsSpec()
    pool: Literal["warm", "fresh"] = "warm"


class DedupSpec(Settings):
    """What becomes of a submission whose id is taken.

    Attributes:
        window: How long the id of a task is taken, from its acceptance on.
        on_duplicate: `drop`; `reject`: a dead letter; `rerun`: a task that failed or was stopped
            is run again.
    """

    window: Duration = Field(default=7 * _DAY, ge=0)
    on_duplicate: OnDuplicate = "drop"


def _off_is_nothing(value: Any) -> Any:
    """The size of logs that are off, for YAML that reads `off` as false, or as a text."""
    return 0 if value is False or value == "off" else value


class HistorySpec(Settings):
    """What is kept of tasks that have ended.

    Attributes:
        retention: How long their history is kept.
        max: Number of them that are kept at most: beyond it the oldest are forgotten, first those
            that have succeeded, and their ids may be used anew.
        topic: Topic of what attempts print; the pipelines of a cluster share it.
        logs: Bytes that are kept of what an attempt prints; `off`: nothing is, and there is no
            topic.
    """

    retention: Duration = Field(default=7 * _DAY, ge=0)
    max: int = Field(default=1_000_000, ge=1)
    topic: Topic = TOPIC
    logs: Annotated[
        Size,
        BeforeValidator(_off_is_nothing, json_schema_input_type=Size | Literal["off", False]),
        Field(le=_MOST_LOGS),
    ] = 2**20


class SuccessSpec(UseSettings):
    """A destination of results.

    Attributes:
        name: Name in `tasks show`, and of the pipeline that delivers; None: the sink's.
    """

    name: Name | None = None

    @property
    def on_cluster(self) -> bool:
        """Whether results are written in the transaction of the final state."""
        return self.use == "kafka"


class FailureSpec(DeadLetterSpec):
    """A destination of tasks that have ended without success.

    Attributes:
        name: Name in `tasks show`, and of the pipeline that delivers; None: the sink's.
        when: The final states of which the destination hears.
    """

    name: Name | None = None
    when: tuple[Literal["Failed", "Stopped", "Expired", "Invalid"], ...] = Field(
        default=("Failed", "Stopped", "Expired", "Invalid"), min_length=1
    )

    @model_validator(mode="after")
    def _no_table_and_no_kafka(self) -> Self:
        if self.table is not None:
            raise ValueError("`table` needs a store: write `use: NAME` and `with: {table: NAME}`")
        if self.use == "kafka":
            raise ValueError("a topic of the cluster is written as `topic: NAME`")
        return self

    @property
    def on_cluster(self) -> bool:
        """Whether tasks are written in the transaction of their final state."""
        return self.topic is not None


def _one_needs_no_list(value: Any) -> Any:
    return value if is_list(value) else (value,)


class TaskTopicsSpec(Settings):
    """The topics of a task pipeline's own.

    Attributes:
        partitions: Number of partitions of inbox and journal, which is fixed for life.
    """

    partitions: int = Field(default=16, ge=1, le=1000)


class TaskSpec(Settings):
    """The content of a pipeline file with `mode: task`.

    Attributes:
        name: Name of the pipeline; its inbox is `NAME.inbox`, its journal `NAME.journal`.
        mode: `task`, which makes a task of each record.
        kafka: Settings of every Kafka client, by librdkafka's names.
        consumer: Further settings of consumers.
        producer: Further settings of producers.
        registry: Settings of the schema registry's client.
        source: Source plug-in and its settings.
        operator: The one operator, which may take long.
        id: Id of the task of a record, as an expression; None: the header `task-id`, else topic,
            partition and offset.
        order: `key`: tasks of one key of the source run one after the other, and ids are taken
            within their key.
        dedup: What becomes of a submission whose id is taken.
        max_open: Number of open tasks from which on no more are accepted: the source waits.
        max_age: Age at which a task that has not started expires; None: it never does.
        on_success: Where results go; one destination needs no list.
        on_failure: Where tasks go that have ended without success; likewise.
        retry: Retry policy of an operator without its own.
        history: What is kept of tasks that have ended.
        topics: The topics of the pipeline's own.
        workers: Number of processes that accept tasks.
        on_shutdown: What becomes of attempts when the daemon is stopped: `interrupt` ends them, and
            they are made again, here or elsewhere; `finish` lets them end.
        drain_timeout: Time that a stopping process may take, and that attempts may go on where
            they may end; None: 10 s, or what `stop_grace` needs; the operator's `timeout`.
        tests: Cases for `kafka-etl test`, which run the operator; nothing else reads them.
    """

    name: Name
    mode: Literal["task"]
    kafka: dict[str, ClientValue] = Field(default_factory=dict[str, ClientValue])
    consumer: dict[str, ClientValue] = Field(default_factory=dict[str, ClientValue])
    producer: dict[str, ClientValue] = Field(default_factory=dict[str, ClientValue])
    registry: dict[str, ClientValue] = Field(default_factory=dict[str, ClientValue])
    source: Use
    operator: Annotated[TaskOperatorSpec, BeforeValidator(bare_string_is_use)]
    id: Expression | None = None
    order: Order = "none"
    dedup: DedupSpec = DedupSpec()
    max_open: int = Field(default=100_000, ge=1)
    max_age: Duration | None = Field(default=None, gt=0)
    on_success: Annotated[
        tuple[Annotated[SuccessSpec, BeforeValidator(bare_string_is_use)], ...],
        BeforeValidator(_one_needs_no_list),
        Field(min_length=1),
    ]
    on_failure: Annotated[
        tuple[FailureSpec, ...], BeforeValidator(_one_needs_no_list), Field(min_length=1)
    ]
    retry: TaskRetrySpec = TaskRetrySpec()
    history: HistorySpec = HistorySpec()
    topics: TaskTopicsSpec = TaskTopicsSpec()
    workers: int = Field(default=1, ge=1, le=256)
    on_shutdown: Literal["interrupt", "finish"] = "interrupt"
    drain_timeout: Duration | None = Field(default=None, ge=0, le=7 * _DAY)
    tests: tuple[CaseSpec, ...] = ()

    @model_validator(mode="after")
    def _time_to_drain(self) -> Self:
        least = self.operator.stop_grace + _WORDS_WITHIN
        if self.drain_timeout is not None and self.drain_timeout < least:
            raise ValueError(
                f"`drain_timeout` ({show_duration(self.drain_timeout)}) should be at least "
                f"`stop_grace` and 5s for last words, which is {show_duration(least)}"
            )
        return self

    @property
    def interrupt_within(self) -> float:
        """Seconds that a daemon may take to end attempts, and to write what comes of them."""
        least = self.operator.stop_grace + _WORDS_WITHIN
        given = None if self.on_shutdown == "finish" else self.drain_timeout
        return min(max(_DRAIN, least) if given is None else given, _LONGEST_DRAIN)

    @property
    def finish_within(self) -> float:
        """Seconds that attempts may go on when the daemon is stopped."""
        if self.on_shutdown == "interrupt":
            return 0.0
        return self.operator.timeout if self.drain_timeout is None else self.drain_timeout

    @property
    def operator_name(self) -> str:
        return self.operator.name or self.operator.use.replace(":", ".").rpartition(".")[2]
