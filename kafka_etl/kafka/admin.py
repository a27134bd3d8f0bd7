"""Questions and orders to the cluster, each answered with our own errors.

For preflight, which is over soon: an admin client kept for long does not survive every broker
restart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from time import monotonic
from typing import Any, Final, Literal, NamedTuple, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
    admin,
)
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from kafka_etl.contracts import Pulse
from kafka_etl.errors import (
    BrokersUnreachable,
    KafkaEtlError,
    NotAuthorized,
    TopicMissing,
    TopicNotCreated,
)
from kafka_etl.kafka import classify, listener
from kafka_etl.kafka.client_settings import make_client
from kafka_etl.record import Partition

T = TypeVar("T")
Right = Literal["READ", "WRITE"]

_REQUEST: Final = 10.0
_FIRST_ANSWER: Final = 1.0
_PATIENCE: Final = 30.0
_BUSY_ADVICE: Final = "The brokers start or change leaders: if it lasts, see their logs."
_PROTOCOL_ADVICE: Final = (
    "Correct `security.protocol` under `kafka`, or the port in bootstrap.servers: brokers often "
    "have one for each protocol."
)
_waiting: ContextVar[Pulse] = ContextVar("waiting", default=lambda _waiting_for: None)
_api: Any = admin  # its hints are partial and contradict each other; the tests check what we use


@cache
def connect(settings: frozenset[tuple[str, Any]]) -> Admin:
    """The one admin client of a preflight for a cluster."""
    return Admin(dict(settings))


@contextmanager
def connections(waiting: Pulse) -> Generator[None]:
    """The clients of one preflight, which end with it; `waiting` is told what they wait for."""
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
        connect.cache_clear()


class Committed(NamedTuple):
    """An offset a group has committed, and the note beside it."""

    offset: int
    note: str


class Member(NamedTuple):
    """One member of a group."""

    client: str
    host: str
    static: bool


class Admin:
    """A connection for preflight.

    A broker that is busy starting is asked again; every method raises `KafkaEtlError` in the end:
    BrokersUnreachable, TopicMissing, NotAuthorized, …
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._brokers = settings.get("bootstrap.servers", "")
        self._said: list[KafkaError] = []
        config = {**settings, "error_cb": self._said.append}
        self._client = make_client(_api.AdminClient, config)

    def topics(self) -> dict[str, int]:
        """Every topic this user can see, with its number of partitions."""
        what = f"asking {self._brokers} for its topics"

        def ask() -> dict[str, int]:
            listed = self._client.list_topics(timeout=_FIRST_ANSWER)
            return {name: len(topic.partitions) for name, topic in listed.topics.items()}

        deadline = monotonic() + _REQUEST
        while True:
            try:
                return _patiently(what, ask)
            except BrokersUnreachable as away:
                wrong = listener.mismatch(self._settings)
                if not wrong:
                    self._raise_if_denied(what)
                said = f"{away.what}; {wrong}" if wrong else away.what + self._last_word()
                if monotonic() > deadline:
                    raise BrokersUnreachable(said, _PROTOCOL_ADVICE if wrong else "") from away
                _waiting.get()(said)

    def _raise_if_denied(self, what: str) -> None:
        """A failed login shows as a broker that does not answer; the client tells it aside."""
        self._client.poll(0)
        for error in self._said:
            denied = classify.final(error, what)
            if denied is not None:
                raise denied

    def _last_word(self) -> str:
        """Of the client, on why no broker answers: a host without an address, say.

        A lost connection tells less than a handshake that failed on it, and may be told later.
        """
        errors = [error for error in self._said if error.name() != "_ALL_BROKERS_DOWN"]
        telling = [error for error in errors if error.name() != "_TRANSPORT"] or errors
        return f"; {classify.plain(telling[-1])}" if telling else ""

    def require_rights(self, topics: Iterable[str], right: Right) -> None:
        """This user has the right to each topic that exists."""
        for name in sorted(set(topics)):
            with suppress(TopicMissing):
                self._require_right(name, right)

    def _require_right(self, topic: str, right: Right) -> None:
        _require(
            right,
            f"topic {topic}",
            lambda: self._client.describe_topics(
                TopicCollection([topic]),
                include_authorized_operations=True,
                request_timeout=_REQUEST,
            )[topic],
        )

    def require_group_rights(self, group: str, right: Right) -> None:
        """This user has the right to the group, which need not exist."""
        _require(
            right,
            f"group {group}",
            lambda: self._client.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=_REQUEST
            )[group],
        )

    def settings_of(self, topic: str) -> dict[str, str]:
        """Topic settings by name; empty when this user may not read them."""
        resource = _api.ConfigResource(_api.ResourceType.TOPIC, topic)
        try:
            entries = _answered(
                f"reading the settings of topic {topic}",
                lambda: self._client.describe_configs([resource], request_timeout=_REQUEST)[
                    resource
                ],
            )
        except NotAuthorized:
            return {}
        return {name: entry.value for name, entry in entries.items()}

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

        def ask() -> None:
            try:
                self._client.create_topics([topic], operation_timeout=_REQUEST)[name].result()
            except KafkaException as raised:
                if classify.error_of(raised).name() != "TOPIC_ALREADY_EXISTS":
                    raise

        _patiently(f"creating topic {name}", ask, otherwise=TopicNotCreated)

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Offsets the group has committed; partitions without one are left out."""
        wanted = [TopicPartition(*tp) for tp in partitions]
        answer = _answered(
            f"reading the offsets of group {group}",
            lambda: self._client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=_REQUEST
            )[group],
        )
        found: list[Any] = answer.topic_partitions
        return {Partition(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    def all_committed(self, group: str) -> dict[Partition, Committed]:
        """Every offset the group has committed, in whatever topic."""
        answer = _answered(
            f"reading the offsets of group {group}",
            lambda: self._client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)], request_timeout=_REQUEST
            )[group],
        )
        found: list[Any] = answer.topic_partitions
        return {
            Partition(p.topic, p.partition): Committed(p.offset, p.metadata or "")
            for p in found
            if p.offset >= 0
        }

    def members(self, group: str) -> list[Member]:
        """Who is in the group now; nobody in a group that does not exist."""
        described = _answered(
            f"looking at group {group}",
            lambda: self._client.describe_consumer_groups([group], request_timeout=_REQUEST)[group],
        )
        found: list[Any] = described.members
        return [
            Member(m.client_id or m.member_id, m.host, static=m.group_instance_id is not None)
            for m in found
        ]

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

        def ask() -> dict[Partition, int]:
            asked = self._client.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_REQUEST
            )
            return {Partition(p.topic, p.partition): f.result().offset for p, f in asked.items()}

        return _patiently("looking up offsets", ask) if wanted else {}

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> bool:
        """Set the offsets of a group without members. False: it has members, nothing is set."""
        wanted = [TopicPartition(*tp, offset) for tp, offset in offsets.items()]

        def ask() -> bool:
            try:
                answer = self._client.alter_consumer_group_offsets(
                    [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=_REQUEST
                )[group].result()
                for partition in answer.topic_partitions:
                    if partition.error is not None:
                        raise KafkaException(partition.error)
            except KafkaException as raised:
                if classify.has_members(classify.error_of(raised)):
                    return False
                raise
            return True

        return _patiently(f"setting the first offsets of group {group}", ask)


def _answered(what: str, request: Callable[[], Any]) -> Any:
    """The answer to a request whose answer comes as a future."""
    return _patiently(what, lambda: request().result())


def _patiently(what: str, ask: Callable[[], T], otherwise: type[KafkaEtlError] | None = None) -> T:
    """Ask until the cluster has an answer, and turn a refusal into an error of ours."""
    retrying = Retrying(
        retry=retry_if_exception(_is_busy),
        stop=stop_after_delay(_PATIENCE),
        wait=wait_random_exponential(0.05, max=1.0),
        before_sleep=lambda state: _waiting.get()(f"{what} failed: {_said(state)}"),
        reraise=True,
    )
    try:
        return retrying(ask)
    except KafkaException as raised:
        error = classify.error_of(raised)
        explained = classify.explained(error, what)
        away = isinstance(explained, BrokersUnreachable)
        if otherwise is not None and not away and classify.final(error, what) is None:
            raise otherwise(f"{what} failed: {classify.said(error)}") from raised
        if classify.busy(error):
            raise BrokersUnreachable(explained.what, _BUSY_ADVICE) from raised
        raise explained from raised


def _said(state: RetryCallState) -> str:
    raised = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(raised, KafkaException):
        return str(raised)
    return classify.said(classify.error_of(raised))


def _is_busy(raised: BaseException) -> bool:
    return isinstance(raised, KafkaException) and classify.busy(classify.error_of(raised))


def _require(right: Right, what: str, describe: Callable[[], Any]) -> None:
    """Whoever may not even look has neither right: each would bring that one along."""
    try:
        allowed = _answered(f"looking at {what}", describe).authorized_operations
    except NotAuthorized as denied:
        if not classify.lacks_right(denied.__cause__):
            raise
        allowed = ()
    if allowed is not None and right not in {operation.name for operation in allowed}:
        raise NotAuthorized(
            f"this pipeline's Kafka user lacks the right {right} on {what}",
            "Grant it, and start the pipeline again.",
        )


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
