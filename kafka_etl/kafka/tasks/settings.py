"""Settings of the source that an owner of tasks reads."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from kafka_etl.contracts import Settings
from kafka_etl.kafka.settings import (
    CreateSettings,
    KafkaSinkSettings,
    KafkaSourceSettings,
    Topic,
)
from kafka_etl.retry import Backoff
from kafka_etl.tasks.limits import MAX_RESULT
from kafka_etl.tasks.log_records import TOPIC
from kafka_etl.tasks.placing import Order
from kafka_etl.tasks.policy import OnDuplicate, Policy
from kafka_etl.tasks.states import FINAL, State


class LetterTopic(Settings):
    """A topic for tasks that end without success.

    Attributes:
        topic: The topic.
        format: How a task is written; see `kafka_etl.envelope.LetterFormat`.
        when: The final states of which the topic hears.
        create: How to make the topic, if it is missing; False: a missing topic is an error.
    """

    topic: Topic
    format: Literal["raw", "raw+connect", "envelope"] = "raw"
    when: tuple[State, ...]
    create: CreateSettings | Literal[False] = CreateSettings()


class OutsidePlace(Settings):
    """A destination outside of the cluster, which a stream pipeline writes to.

    Attributes:
        name: Name of the destination.
        topic: Topic of what is on its way there.
        when: The outcomes of which the destination hears; `Succeeded`: it gets rows of results.
        has_input: Whether the destination gets the input of a task beside the result.
    """

    name: str
    topic: Topic
    when: tuple[State, ...]
    has_input: bool = False

    @property
    def takes_rows(self) -> bool:
        """Whether the destination gets rows of results, and no notices of failures."""
        return State.SUCCEEDED in self.when


class TaskDeliverySettings(KafkaSourceSettings):
    """Settings of a source that reads what is on its way to a destination.

    Attributes:
        pipeline: Name of the task pipeline.
        operator: Name of the operator.
        inbox: Topic of the words that say what has arrived.
        partitions: Number of partitions.
        replication: Copies of each partition of a topic that is created; None: the brokers'
            default.
        config: Further settings of the topic, if it is created.
        notices: Whether the records are notices of failures, and no rows of results.
        claim_check: See `kafka_etl.config.model.DeadLetterSpec`.
    """

    pipeline: str
    operator: str
    inbox: Topic
    partitions: int = Field(default=16, ge=1, le=1000)
    replication: int | None = None
    config: dict[str, str] = Field(default_factory=dict[str, str])
    notices: bool = False
    claim_check: str | None = None


class TaskInboxSettings(KafkaSourceSettings):
    """Settings of a source that reads an inbox as the owner of its tasks.

    Attributes:
        journal: Topic of the tasks' states.
        partitions: Number of partitions of inbox and journal.
        order: Whether tasks of one key run one after the other.
        replication: Copies of each partition of topics that are created; None: the brokers'
            default.
        inbox_config: Further settings of the inbox, if it is created; likewise `journal_config`.
        operator: Name of the operator.
        max_attempts, backoff, idempotent, window_ms, on_duplicate, max_age_ms, history_ms,
            history_max: See `kafka_etl.tasks.policy.Policy`.
        max_open: Number of open tasks from which on no more are accepted; 0: not told.
        lost_after_ms: Silence after which an executor is lost, in milliseconds.
        slots: Number of attempts that run at the same time, on each host.
        max_result: Bytes of the largest result.
        timeout: Seconds that an attempt may take.
        stop_grace: Seconds from SIGTERM to SIGKILL.
        finish_within: Seconds that attempts may go on in a shutdown; 0: they are interrupted.
        max_memory: Bytes of memory that an attempt may use; None: no limit.
        max_cpu: Seconds of CPU time that an attempt may use; None: no limit.
        pool: Whether a process serves one attempt or many.
        logs_topic: Topic of what attempts print; the pipelines of a cluster share it.
        logs: Bytes of the log of an attempt; 0: there are no logs, and no topic is needed.
        logs_config: Settings of the topic of logs, if it is created.
        run: The document of the pipeline that a runner builds.
        sinks: Further sinks for which a runner encodes results.
        results: Topics of results beside those of the sink.
        letters: Topics of tasks that end without success.
        outside: Destinations outside of the cluster.
        has_results: Whether any topic of the cluster gets results.
    """

    journal: Topic
    partitions: int = Field(default=16, ge=1, le=1000)
    order: Order = "none"
    replication: int | None = None
    inbox_config: dict[str, str] = Field(default_factory=dict[str, str])
    journal_config: dict[str, str] = Field(default_factory=dict[str, str])
    operator: str = ""
    max_attempts: int = Field(default=3, ge=1)
    backoff: tuple[float, float, float, Literal["full", "none"]] = (0.2, 2.0, 30.0, "full")
    idempotent: bool = True
    window_ms: int = Field(default=7 * 86_400_000, ge=0)
    on_duplicate: OnDuplicate = "drop"
    max_age_ms: int | None = Field(default=None, gt=0)
    history_ms: int = Field(default=7 * 86_400_000, ge=0)
    history_max: int = Field(default=1_000_000, ge=1)
    max_open: int = Field(default=0, ge=0)
    lost_after_ms: int = Field(default=60_000, gt=0)
    slots: int = Field(default=1, ge=1, le=1024)
    max_result: int = Field(default=MAX_RESULT, gt=0)
    timeout: float = Field(default=3600.0, gt=0)
    stop_grace: float = Field(default=10.0, ge=0)
    finish_within: float = Field(default=0.0, ge=0)
    max_memory: int | None = Field(default=None, gt=0)
    max_cpu: float | None = Field(default=None, gt=0)
    pool: Literal["warm", "fresh"] = "warm"
    logs_topic: Topic = TOPIC
    logs: int = Field(default=0, ge=0)
    logs_config: dict[str, str] = Field(default_factory=dict[str, str])
    run: dict[str, Any] = Field(default_factory=dict[str, Any])
    sinks: tuple[dict[str, Any], ...] = ()
    results: tuple[KafkaSinkSettings, ...] = ()
    letters: tuple[LetterTopic, ...] = ()
    outside: tuple[OutsidePlace, ...] = ()
    has_results: bool = True

    @property
    def inbox(self) -> str:
        return self.topics[0]

    @property
    def policy(self) -> Policy:
        return Policy(
            max_attempts=self.max_attempts,
            backoff=Backoff(*self.backoff),
            idempotent=self.idempotent,
            window_ms=self.window_ms,
            on_duplicate=self.on_duplicate,
            max_age_ms=self.max_age_ms,
            history_ms=self.history_ms,
            history_max=self.history_max,
            outside={
                state: names
                for state in sorted(FINAL - {State.SUCCEEDED})
                if (names := tuple(o.name for o in self.outside if state in o.when))
            },
        )
