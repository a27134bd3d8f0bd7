"""Settings of Kafka clients: defaults, the user's own, and the settings exactly-once needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final, Protocol, TypeVar

from confluent_kafka import KafkaException, libversion

from kafka_etl.client_log import client_logger
from kafka_etl.contracts import Deployment
from kafka_etl.errors import KafkaRefused
from kafka_etl.kafka.client import classify

T = TypeVar("T")

_QUIET: Final[Mapping[str, Any]] = {"log_level": 3, "log.connection.close": False}
_SOON: Final[Mapping[str, Any]] = {"reconnect.backoff.ms": 20}
"""Milliseconds: the default of 100 delays the second connection of a client by about 50 ms."""


class ClientLog(Protocol):
    """The part of a `logging.Logger` that a client calls with its log lines."""

    def log(self, level: int, text: str, facility: str, client: str, line: str, /) -> None: ...


def make_client(
    kind: Callable[..., T], settings: Mapping[str, Any], log: ClientLog | None = None
) -> T:
    """Make a Kafka client.

    Args:
        kind: Class of the client.
        settings: All settings of the client.
        log: Receives the client's log lines; default: the project's own log.

    Raises:
        KafkaRefused: The client does not take these settings.
    """
    try:
        return kind(dict(settings), logger=log or client_logger())
    except KafkaException as raised:
        said = classify.error_of(raised).str().strip()
        raise KafkaRefused(f"the Kafka client refuses its settings: {said}") from raised


def client_versions() -> tuple[str, str]:
    """Return the versions of the Kafka client and of the library in it."""
    return version("confluent-kafka"), libversion()[0]


def admin_settings(deployment: Deployment) -> dict[str, Any]:
    return {**_QUIET, **_SOON, "client.id": deployment.member, **deployment.kafka}


def reader_settings(settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Settings of a consumer without a group that reads what was committed, from any offset.

    Args:
        settings: Settings of the user.
        more: Further settings, and others than those.
    """
    return {
        **settings,
        "group.id": "kafka-etl-reader",  # never joined
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        **more,
    }


def consumer_settings(deployment: Deployment, group: str, *, static: bool) -> dict[str, Any]:
    """Settings of the one consumer of a worker."""
    suitable: dict[str, Any] = {
        **_QUIET,
        **_SOON,
        "client.id": deployment.member,
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 2_000,
        # The default of one second starves a fast engine: the next fetch would wait that long.
        "fetch.queue.backoff.ms": 5,
        # A fetch that waits for records delays the fetch after a seek.
        "fetch.wait.max.ms": 100,
        # Two batches of each partition, whatever the size of the records. By default the client
        # would fetch 100,000 records of each partition, and keeps 400 bytes beside every record.
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 32_768,
        "check.crcs": True,
    }
    needed: dict[str, Any] = {
        "group.id": group,
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }
    if static:
        needed["group.instance.id"] = deployment.member
    return {**suitable, **deployment.kafka, **deployment.consumer, **needed}


def producer_settings(deployment: Deployment) -> dict[str, Any]:
    """Settings of the one transactional producer of a worker."""
    limits = deployment.size_limits.values()
    suitable: dict[str, Any] = {
        **_QUIET,
        **_SOON,
        "client.id": deployment.member,
        "linger.ms": 5,
        # A broker refuses a whole set of records that is larger than the topic's limit.
        "batch.size": min([1_000_000, *limits]),
        "message.max.bytes": max([1_000_000, *limits]),
        "queue.buffering.max.messages": 1_000_000,
        "transaction.timeout.ms": 10_000,
        # For some milliseconds after a transaction the broker answers CONCURRENT_TRANSACTIONS to
        # the next one. With repetitions every 10 ms a transaction takes 27 ms, every 2 ms 8 ms.
        "retry.backoff.ms": 2,
    }
    needed: dict[str, Any] = {
        "transactional.id": deployment.member,
        "partitioner": "murmur2_random",
        # A transaction fails as a whole, so reports of records that arrived have no reader.
        "delivery.report.only.error": True,
    }
    return {**suitable, **deployment.kafka, **deployment.producer, **needed}
