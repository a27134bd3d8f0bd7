"""What the checks of `kafka-etl doctor` judge: facts about a host, a cluster and a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kafka_etl.errors import Problem
from kafka_etl.kafka.cluster.acls import Grant

Use = Literal["source", "sink", "dead letters", "inbox", "journal", "deliveries", "logs"]
"""What a pipeline does with a topic; the last four are topics of tasks."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts about this host, and about what is installed here.

    Attributes:
        python: Version of Python.
        client: Version of confluent-kafka.
        librdkafka: Version of the library in it.
        broken: Plug-in -> why it cannot be used.
        missing: Plug-in of a pipeline -> command that installs what it needs.
        state_folder: Path of the daemon's state folder.
        state_problem: Why the folder cannot be used; empty: it can.
        free_bytes: Free space on its disk.
    """

    python: str = ""
    client: str = ""
    librdkafka: str = ""
    broken: Mapping[str, str] = field(default_factory=dict[str, str])
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    state_folder: str = ""
    state_problem: str = ""
    free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TopicNeeds:
    """What a pipeline needs of a topic of its tasks.

    Attributes:
        partitions: Number of partitions; 0: any.
        settings: Settings that the topic must have.
        keeps_ms: Milliseconds that records must stay; 0: any.
        largest: Bytes of the largest record that the pipeline writes; 0: unknown.
    """

    partitions: int = 0
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    keeps_ms: int = 0
    largest: int = 0


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """Facts about one topic that a pipeline uses.

    Attributes:
        name: Name of the topic.
        uses: What the pipeline does with it.
        creates: Whether the pipeline creates the topic if it is missing.
        partitions: Number of partitions; 0: the topic does not exist, or may not be looked at.
        replicas: Smallest number of copies of a partition.
        in_sync: Smallest number of copies of a partition that are up to date.
        rights: What this user may do with the topic; None: the brokers do not tell.
        settings: Settings of the topic; empty: this user may not read them.
        newest_ms: Time of the newest record, in milliseconds since the epoch; None: unknown.
        needs: What the pipeline needs of the topic.
        nearest: Of a topic that does not exist: the one with the most similar name; empty: none is
            similar.
    """

    name: str
    uses: frozenset[Use]
    creates: bool = False
    partitions: int = 0
    replicas: int = 0
    in_sync: int = 0
    rights: frozenset[str] | None = None
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    newest_ms: int | None = None
    needs: TopicNeeds = TopicNeeds()
    nearest: str = ""

    def number(self, setting: str) -> int | None:
        """The number that a setting has; None: it is unknown."""
        text = self.settings.get(setting, "")
        return int(text) if text.lstrip("-").isdigit() else None


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """Facts about the consumer group of a pipeline.

    Attributes:
        name: Name of the group.
        state: State of the group in the brokers' words, in lower case; empty: there is none yet.
        assignor: How the members share partitions; empty: there are no members.
        members: Members by name and host.
        rights: What this user may do with the group; None: the brokers do not tell.
        deleted: Offsets that were deleted before the group had read them.
        beyond: Partitions that end before the group's offset.
    """

    name: str
    state: str = ""
    assignor: str = ""
    members: tuple[str, ...] = ()
    rights: frozenset[str] | None = None
    deleted: int = 0
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """Facts about a target outside of Kafka.

    Attributes:
        name: What goes there and the sink, such as "outputs to postgres".
        problem: Why the target cannot be used; None: it can.
        notes: Remarks about it.
    """

    name: str
    problem: Problem | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """Facts about a cluster.

    Attributes:
        servers: Addresses that were asked.
        brokers: Number of brokers.
        versions: Number of a request -> oldest and newest version; None: the brokers do not tell.
        problem: Why no more is known; None: the cluster answers.
    """

    servers: str
    brokers: int = 0
    versions: Mapping[int, tuple[int, int]] | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts about one pipeline and its surroundings.

    Attributes:
        now_ms: Time of this host, in milliseconds since the epoch.
        host: Facts about this host.
        cluster: Facts about the cluster; None: it was not asked.
        pipeline: Name of the pipeline; empty: none was given.
        problem: What is wrong with the pipeline's file; None: nothing.
        atomic: Whether outputs are written in Kafka transactions.
        topics: Facts about the topics that the pipeline uses.
        group: Facts about its group; None: unknown.
        targets: Facts about the targets of its outputs and dead letters that are not in Kafka.
        transactional_id: Transactional id of its first worker; empty: unknown.
        grant: What the cluster's ACLs tell about the right to that id.
        history: What is wrong with the history of its tasks; None: nothing, or there are no tasks.
    """

    now_ms: int
    host: HostFacts = HostFacts()
    cluster: ClusterFacts | None = None
    pipeline: str = ""
    problem: Problem | None = None
    atomic: bool = False
    topics: tuple[TopicFacts, ...] = ()
    group: GroupFacts | None = None
    targets: tuple[TargetFacts, ...] = ()
    transactional_id: str = ""
    grant: Grant = Grant.UNKNOWN
    history: Problem | None = None
