"""Requests of preflight and of commands to the cluster, whose failures are `KafkaEtlError`.

An admin client is kept for a short time only, because a client that is kept for long does not
survive every restart of a broker.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from time import monotonic, sleep
from typing import Any, Final, Literal, NamedTuple, TypeVar

from confluent_kafka import (
    ConsumerGroupState,
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
from kafka_etl.kafka.client import classify, listener
from kafka_etl.kafka.client.settings import make_client
from kafka_etl.record import Partition

T = TypeVar("T")
Right = Literal["READ", "WRITE"]

_FIRST_ANSWER: Final = 1.0
_REACHED_WITHIN: Final = 10.0
_CREATED_WITHIN: Final = 10.0
_REQUEST: Final = 60.0
"""Seconds to wait for an answer: brokers need a while to describe thousands of partitions."""
_AT_ONCE: Final = 1000
_PULSE: Final = 0.2
_QUIET: Final = 2.0
"""Seconds of a wait before its first pulse."""
_SHOWN: Final = 10
_PATIENCE: Final = 30.0
_BUSY_ADVICE: Final = "The brokers start or change leaders: if it lasts, see their logs."
_PROTOCOL_ADVICE: Final = (
    "Correct `security.protocol` under `kafka`, or the port in bootstrap.servers: brokers often "
    "have one for each protocol."
)
_waiting: ContextVar[Pulse] = ContextVar("waiting", default=lambda _waiting_for: None)
_api: Any = admin  # its type hints are partial and contradictory; tests check the calls


@cache
def connect(settings: frozenset[tuple[str, Any]]) -> Admin:
    """The admin client of a cluster, which all checks of a preflight share."""
    return Admin(dict(settings))


def reached(settings: Mapping[str, Any]) -> Admin:
    """Make an admin client, and wait until a broker answers.

    Raises:
        BrokersUnreachable: No broker has answered for about 10 s.
        NotAuthorized: The login fails.
    """
    client = Admin(settings)
    client.reach()
    return client


@contextmanager
def connections(waiting: Pulse) -> Generator[None]:
    """Close the admin clients of a preflight at its end; `waiting` is called during their waits."""
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
        connect.cache_clear()


class Committed(NamedTuple):
    """An offset that a group has committed, and the note that was committed with the offset."""

    offset: int
    note: str


class Member(NamedTuple):
    """One member of a group.

    Attributes:
        client: The `client.id`, or the member id of a member without a `client.id`.
        host: Address of the member as the broker sees it, such as "/10.0.0.7".
        static: Whether the member has a `group.instance.id`.
    """

    client: str
    host: str
    static: bool


class TopicDescription(NamedTuple):
    """What the cluster says about one topic.

    Attributes:
        partitions: Number of partitions; 0: this user may not look at the topic.
        replicas: Smallest number of copies of a partition.
        in_sync: Smallest number of copies of a partition that are up to date.
        rights: What this user may do with the topic; None: the brokers do not tell.
    """

    partitions: int
    replicas: int
    in_sync: int
    rights: frozenset[str] | None


class GroupDescription(NamedTuple):
    """What the cluster says about one group.

    Attributes:
        state: State of the group, in the client's words.
        assignor: How the members share partitions; empty: there are no members.
        members: Present members.
        rights: What this user may do with the group; None: the brokers do not tell.
    """

    state: str
    assignor: str
    members: tuple[Member, ...]
    rights: frozenset[str] | None


class Admin:
    """An admin client whose methods block until the cluster has answered.

    A request that a busy broker refuses (at its start, or during a change of leaders) is repeated
    for 30 s. Then, or at another refusal, every method raises a `KafkaEtlError`:
    BrokersUnreachable, TopicMissing, NotAuthorized, …

    Args:
        settings: Settings of the client, `bootstrap.servers` among them.

    Attributes:
        cluster: The cluster's id, once `reach` has succeeded.
        topic_ids: Topic -> its id, of the topics that `topics` has described.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._brokers = settings.get("bootstrap.servers", "")
        self._said: list[KafkaError] = []
        self.cluster = ""
        self.topic_ids: dict[str, str] = {}
        config = {**settings, "error_cb": self._said.append}
        self._client = make_client(_api.AdminClient, config)

    def reach(self) -> None:
        """Wait until a broker answers.

        The request is for the brokers alone, which a large cluster answers as fast as a small one.

        Raises:
            BrokersUnreachable: No broker has answered for about 10 s.
            NotAuthorized: The login fails.
        """
        what = f"asking {self._brokers} for its topics"
        deadline = monotonic() + _REACHED_WITHIN
        while True:
            try:
                cluster = _answered(
                    what, lambda: self._client.describe_cluster(request_timeout=_FIRST_ANSWER)
                )
                self.cluster = cluster.cluster_id or ""
            except BrokersUnreachable as away:
                wrong = listener.mismatch(self._settings)
                if not wrong:
                    self._raise_if_denied(what)
                said = f"{away.what}; {wrong}" if wrong else away.what + self._last_word()
                if monotonic() > deadline:
                    raise BrokersUnreachable(said, _PROTOCOL_ADVICE if wrong else "") from away
                _waiting.get()(said)
            else:
                return

    def topics(self, names: Iterable[str], right: Right) -> dict[str, int]:
        """The topics among `names` that exist, with their number of partitions.

        Raises:
            NotAuthorized: This user lacks the right to one of the topics.
        """
        wanted = sorted(set(names))
        described = self._described(wanted) if wanted else {}
        for name, topic in described.items():
            _require(right, f"topic {name}", topic)
            self.topic_ids[name] = str(topic.topic_id)
        return {name: len(topic.partitions) for name, topic in described.items()}

    def _described(self, names: list[str]) -> dict[str, Any]:
        """Topic -> its description or the cluster's refusal; without topics that do not exist."""

        def ask() -> dict[str, Any]:
            asked = self._client.describe_topics(
                TopicCollection(names),
                include_authorized_operations=True,
                request_timeout=_REQUEST,
            )
            return {name: _description(what, future) for name, future in asked.items()}

        what = f"looking at topic {listed(names)}"
        return {name: found for name, found in _patiently(what, ask).items() if found is not None}

    def describe(self, names: Iterable[str]) -> dict[str, TopicDescription]:
        """Describe the topics among `names` that exist."""
        wanted = sorted(set(names))
        return {
            name: _topic_description(found)
            for name, found in (self._described(wanted) if wanted else {}).items()
        }

    def brokers(self) -> int:
        """Return the number of brokers."""
        cluster = _answered(
            "counting the brokers", lambda: self._client.describe_cluster(request_timeout=_REQUEST)
        )
        return len(cluster.nodes)

    def all_topics(self) -> list[str]:
        """The names of all topics that this user can see; a large cluster takes a while."""
        with ThreadPoolExecutor(1) as pool:  # `list_topics` blocks, and `_await` needs a future
            return _answered(
                "listing all topics",
                lambda: pool.submit(
                    lambda: list(self._client.list_topics(timeout=_REQUEST).topics)
                ),
            )

    def _raise_if_denied(self, what: str) -> None:
        """Raise a failed login, which the client reports only in its error callback."""
        self._client.poll(0)
        for error in self._said:
            denied = classify.final(error, what)
            if denied is not None:
                raise denied

    def _last_word(self) -> str:
        """The client's most telling error, for the end of a sentence: an unknown host, say.

        A lost connection is told only without other errors: the client may report the failed
        handshake, which says more, before the connection that was lost by the handshake.
        """
        errors = [error for error in self._said if error.name() != "_ALL_BROKERS_DOWN"]
        telling = [error for error in errors if error.name() != "_TRANSPORT"] or errors
        return f"; {classify.plain(telling[-1])}" if telling else ""

    def require_group_rights(self, group: str, right: Right) -> None:
        """Require this user to have a right to the group, which need not exist.

        Raises:
            NotAuthorized: This user lacks the right.
        """
        what = f"group {group}"

        def ask() -> Any:
            asked = self._client.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=_REQUEST
            )
            return _description(f"looking at {what}", asked[group])

        _require(right, what, _patiently(f"looking at {what}", ask))

    def describe_group(self, group: str) -> GroupDescription:
        """Describe a group, which need not exist."""
        what = f"looking at group {group}"

        def ask() -> Any:
            asked = self._client.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=_REQUEST
            )
            return _description(what, asked[group])

        found = _patiently(what, ask)
        if found is None or isinstance(found, KafkaException):
            return GroupDescription("", "", (), None if found is None else frozenset())
        return GroupDescription(
            found.state.name.lower(),
            found.partition_assignor or "",
            tuple(map(_member, found.members)),
            _rights(found),
        )

    def settings_of(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """Topic -> its settings by name; no settings of a topic that this user may not read."""
        resources = [_api.ConfigResource(_api.ResourceType.TOPIC, topic) for topic in topics]

        def ask() -> dict[str, dict[str, str]]:
            asked = self._client.describe_configs(resources, request_timeout=_REQUEST)
            return {
                resource.name: _unless_denied("reading topic settings", future)
                for resource, future in asked.items()
            }

        return _of_existing("reading the settings of topics", ask) if resources else {}

    def create_topic(
        self, name: str, partitions: int, replication: int | None, config: Mapping[str, Any]
    ) -> None:
        """Create a topic; a topic that exists already is no error.

        Args:
            name: Name of the topic.
            partitions: Number of partitions.
            replication: Copies of each partition; None: the broker's default.
            config: Topic settings by Kafka's names.

        Raises:
            TopicNotCreated: The cluster refuses to create the topic.
            NotAuthorized: This user lacks the right to create the topic.
            BrokersUnreachable: No broker answers.
        """
        topic = _api.NewTopic(
            name,
            partitions,
            -1 if replication is None else replication,
            config={key: _as_text(value) for key, value in config.items()},
        )
        what = f"creating topic {name}"

        def ask() -> None:
            try:
                asked = self._client.create_topics([topic], operation_timeout=_CREATED_WITHIN)
                _await(what, asked[name])
            except KafkaException as raised:
                if classify.error_of(raised).name() != "TOPIC_ALREADY_EXISTS":
                    raise

        _patiently(what, ask, otherwise=TopicNotCreated)

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, Committed]:
        """The offsets that the group has committed, without partitions that have no offset."""
        wanted = [TopicPartition(*tp) for tp in partitions]
        answer = _answered(
            f"reading the offsets of group {group}",
            lambda: self._client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=_REQUEST
            )[group],
        )
        found: list[Any] = answer.topic_partitions
        return _committed(found)

    def all_committed(self, group: str) -> dict[Partition, Committed]:
        """The committed offsets of the group in all topics."""
        answer = _answered(
            f"reading the offsets of group {group}",
            lambda: self._client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)], request_timeout=_REQUEST
            )[group],
        )
        found: list[Any] = answer.topic_partitions
        return _committed(found)

    def members(self, group: str) -> list[Member]:
        """The present members of the group; empty also for a group that does not exist."""
        found: list[Any] = self._group(group).members
        return list(map(_member, found))

    def owned(self, group: str) -> frozenset[Partition] | None:
        """The partitions that the group has assigned to members; None: a rebalance is under way."""
        described = self._group(group)
        if described.state != ConsumerGroupState.STABLE:
            return None
        members: list[Any] = described.members
        return frozenset(
            Partition(p.topic, p.partition) for m in members for p in m.assignment.topic_partitions
        )

    def _group(self, group: str) -> Any:
        return _answered(
            f"looking at group {group}",
            lambda: self._client.describe_consumer_groups([group], request_timeout=_REQUEST)[group],
        )

    def earliest(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset of each partition whose record is not deleted yet."""
        return self._offsets(partitions, _api.OffsetSpec.earliest())

    def latest(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset after the last committed record of each partition."""
        return self._offsets(partitions, _api.OffsetSpec.latest())

    def at_time(self, partitions: Iterable[Partition], ms: int) -> dict[Partition, int]:
        """The first offset of each partition at or after `ms` since the epoch; -1: none."""
        return self._offsets(partitions, _api.OffsetSpec.for_timestamp(ms))

    def newest(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The largest timestamp of each partition's records, in ms since the epoch; -1: none."""
        return self._found(partitions, _api.OffsetSpec.max_timestamp(), lambda at: at.timestamp)

    def _offsets(self, partitions: Iterable[Partition], spec: Any) -> dict[Partition, int]:
        return self._found(partitions, spec, lambda at: at.offset)

    def _found(
        self, partitions: Iterable[Partition], spec: Any, part: Callable[[Any], int]
    ) -> dict[Partition, int]:
        wanted = {TopicPartition(*tp): spec for tp in partitions}

        def ask() -> dict[Partition, int]:
            asked = self._client.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_REQUEST
            )
            return {
                Partition(p.topic, p.partition): part(_await(what, future))
                for p, future in asked.items()
            }

        what = "looking up offsets"
        return _of_existing(what, ask) if wanted else {}

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> bool:
        """Set the offsets of a group, in requests of 1,000 partitions.

        Returns:
            Whether all offsets are set. False: the group has members, and the offsets of the
            refused request and of the requests after that one are not set.
        """
        wanted = [TopicPartition(*tp, offset) for tp, offset in offsets.items()]
        # The brokers write the offsets of a request as one batch, whose size is limited.
        parts = [wanted[i : i + _AT_ONCE] for i in range(0, len(wanted), _AT_ONCE)]
        return all(self._commit(group, part) for part in parts)

    def _commit(self, group: str, offsets: list[TopicPartition]) -> bool:
        what = f"setting the first offsets of group {group}"

        def ask() -> bool:
            try:
                asked = self._client.alter_consumer_group_offsets(
                    [ConsumerGroupTopicPartitions(group, offsets)], request_timeout=_REQUEST
                )
                for partition in _await(what, asked[group]).topic_partitions:
                    if partition.error is not None:
                        raise KafkaException(partition.error)
            except KafkaException as raised:
                if classify.has_members(classify.error_of(raised)):
                    return False
                raise
            return True

        return _patiently(what, ask)


def _answered(what: str, request: Callable[[], Future[T]]) -> T:
    """Make a request whose answer is a future, and wait for the answer."""
    return _patiently(what, lambda: _await(what, request()))


def _await(what: str, future: Future[T]) -> T:
    """Wait for an answer, with a pulse if the answer takes long."""
    quiet_until = monotonic() + _QUIET
    while True:
        with suppress(TimeoutError):
            return future.result(_PULSE)
        if monotonic() > quiet_until:
            _waiting.get()(f"{what} takes long")


def _description(what: str, future: Future[Any]) -> Any:
    """The description of a topic or group; None: none exists; or the cluster's refusal."""
    try:
        return _await(what, future)
    except KafkaException as raised:
        error = classify.error_of(raised)
        if classify.missing(error):
            return None
        if classify.lacks_right(raised):
            return raised
        raise


def _topic_description(found: Any) -> TopicDescription:
    if isinstance(found, KafkaException):  # a refusal
        return TopicDescription(0, 0, 0, frozenset())
    return TopicDescription(
        len(found.partitions),
        min((len(partition.replicas) for partition in found.partitions), default=0),
        min((len(partition.isr) for partition in found.partitions), default=0),
        _rights(found),
    )


def _rights(described: Any) -> frozenset[str] | None:
    allowed = described.authorized_operations
    return None if allowed is None else frozenset(operation.name for operation in allowed)


def _member(member: Any) -> Member:
    static = member.group_instance_id is not None
    return Member(member.client_id or member.member_id, member.host, static=static)


def _unless_denied(what: str, future: Future[Any]) -> dict[str, str]:
    try:
        return {name: entry.value for name, entry in _await(what, future).items()}
    except KafkaException as raised:
        if classify.lacks_right(raised):
            return {}
        raise


def _patiently(what: str, ask: Callable[[], T], otherwise: type[KafkaEtlError] | None = None) -> T:
    """Ask until the cluster answers, and turn a refusal into a `KafkaEtlError`."""
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


def _of_existing(what: str, ask: Callable[[], T]) -> T:
    """Ask about topics that exist: a broker that has not heard of a new one yet is asked again."""
    deadline = monotonic() + _CREATED_WITHIN
    while monotonic() < deadline:
        with suppress(TopicMissing):
            return _patiently(what, ask)
        sleep(0.1)
    return _patiently(what, ask)


def _said(state: RetryCallState) -> str:
    raised = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(raised, KafkaException):
        return str(raised)
    return classify.said(classify.error_of(raised))


def _is_busy(raised: BaseException) -> bool:
    return isinstance(raised, KafkaException) and classify.busy(classify.error_of(raised))


def _require(right: Right, what: str, described: Any) -> None:
    """Require a right to a topic or group, unless the brokers report no rights.

    A user who may not describe the topic or group has no other right to it either.
    """
    denied = isinstance(described, KafkaException)
    allowed = () if denied else described.authorized_operations
    if allowed is not None and right not in {operation.name for operation in allowed}:
        raise NotAuthorized(
            f"this pipeline's Kafka user lacks the right {right} on {what}",
            "Grant it, and start the pipeline again.",
        )


def listed(names: Sequence[str]) -> str:
    """Join names for a sentence: the first ten, and the number of the others."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _committed(found: Iterable[Any]) -> dict[Partition, Committed]:
    return {
        Partition(p.topic, p.partition): Committed(p.offset, p.metadata or "")
        for p in found
        if p.offset >= 0
    }
