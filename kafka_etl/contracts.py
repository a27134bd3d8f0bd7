"""The shapes a plug-in fills: sources, sinks and codecs, and what passes between them.

A stranger's package needs this module, `kafka_etl.declare` and `kafka_etl.errors`, nothing else.
`kafka_etl.testing` has the suites that every implementation must pass, the built-in ones first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from kafka_etl.invocation import Outputs, Settlement
from kafka_etl.record import Batch, Offsets, Partition


class Guarantee(StrEnum):
    """What a reader of the outputs may rely on, strongest first."""

    EXACTLY_ONCE = "exactly_once"
    EFFECTIVELY_ONCE = "effectively_once"
    AT_LEAST_ONCE = "at_least_once"

    @property
    def strength(self) -> int:
        return -list(Guarantee).index(self)


class Settings(BaseModel):
    """Base of every settings model: unknown keys are errors, values are fixed once loaded."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class NoSettings(Settings):
    """For a plug-in that has nothing to set."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Bytes to values and back.

    Both functions are called once per record: a C function given as it is costs nothing extra.
    They raise any exception for what they cannot do; the record then becomes a dead letter.
    Bytes stay bytes: a codec never sees a null value, and `encode` never sees `bytes`.
    """

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


ClientSettings = Mapping[str, str | int | float | bool]
"""Kafka client settings by librdkafka's own names."""

Pulse = Callable[[], None]
"""Called about twice a second in every wait; raises `Abandoned` when the wait must end."""


class Abandoned(Exception):
    """The worker must stop now; what is unsettled stays unsettled and is run again later."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where one worker of one pipeline runs: what a source or sink is told besides its settings.

    Attributes:
        pipeline: Its name.
        member: `<app>.<pipeline>.<instance>.<worker>`: group member and transactional id.
        kafka: Client settings for every client of the pipeline.
        consumer: Further ones for consumers.
        producer: Further ones for producers.
        dead_letter_topic: Where dead letters go, if anywhere.
        size_limits: Topic -> largest record its broker takes, in bytes, as preflight read it.
        partitions: Topic -> number of partitions, as preflight read it.
    """

    pipeline: str
    member: str
    kafka: ClientSettings
    consumer: ClientSettings
    producer: ClientSettings
    dead_letter_topic: str | None = None
    size_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    partitions: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Arrival:
    """A partition that was assigned: where the group stands in it, and the note left there."""

    offset: int
    note: str


@dataclass(frozen=True, slots=True)
class Position:
    """How far one partition is. `end` is the offset after the last readable record."""

    next: int
    end: int
    timestamp_ms: int


class Source(Protocol):
    """Hands out batches and keeps, per partition, the offset up to which all is settled.

    Called from one thread. It never commits: progress becomes durable in the sink's commit.
    Any method may raise `KafkaEtlError`, which stops the pipeline, or `Reconnect`.
    """

    def poll(self, limit: int) -> Batch | None:
        """The next batch of at most `limit` records; None after a short wait without any."""
        ...

    def serve(self) -> None:
        """Keep the membership alive and refresh `lease`; fetch nothing until the next `poll`."""
        ...

    @property
    def lease(self) -> object:
        """Proof of membership as of the last `poll` or `serve`."""
        ...

    def arrivals(self) -> Mapping[Partition, Arrival]:
        """Partitions assigned since the last call."""
        ...

    def departures(self) -> frozenset[Partition]:
        """Partitions that left since the last call: nothing of theirs may be committed."""
        ...

    def advance(self, progress: Offsets) -> None:
        """The commit of `progress` succeeded."""
        ...

    def rewind(self) -> None:
        """The commit did not happen: read again from the last settled offsets."""
        ...

    def reload(self) -> None:
        """Whether the commit happened is unknown: the committed offsets are the truth."""
        ...

    def positions(self) -> Mapping[Partition, Position]:
        """How far each assigned partition is."""
        ...

    def finished(self, ends: Offsets) -> bool:
        """Whether the group has committed these offsets, wherever its members run."""
        ...

    def close(self) -> None:
        """Leave. Never raises; what was not settled is read again by the next owner."""
        ...


class Sink(Protocol):
    """Makes a settlement durable as one act."""

    def open(self) -> None: ...

    def commit(self, settlement: Settlement) -> None:
        """Return when the whole settlement is durable.

        Raises:
            Aborted: Nothing of it is durable.
            OutcomeUnknown: It may or may not be; the sink has been rebuilt since.
            KafkaEtlError: It never will be; the pipeline stops.
        """
        ...

    def close(self) -> None:
        """Never raises."""
        ...


class Writer(Protocol):
    """All that the author of an at-least-once sink writes."""

    def open(self) -> None: ...

    def write(self, outputs: Outputs) -> None:
        """Return when every output is acknowledged; raise anything to have it tried again."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """The target said no to a record, or to a set of records it arrived in."""

    code: str
    message: str
    too_large: bool = False
    dead_letter: bool = False


class Aborted(Exception):
    """Nothing of the settlement became durable; it may be tried again from the source.

    Args:
        reason: For the log.
        refusal: Set when the target refused records, rather than being away.
        routine: A rebalance or the like: normal operation, not worth a warning.
    """

    def __init__(
        self, reason: str, *, refusal: Refusal | None = None, routine: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal
        self.routine = routine


class OutcomeUnknown(Exception):
    """The answer to a commit was lost; only the committed offsets can tell.

    Args:
        reason: For the log.
        fenced: The broker said that another client uses our id, without a fault of our own that
            would explain it.
    """

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced


class Reconnect(Exception):
    """The client is beyond repair: build a new one and go on from the committed offsets."""

    def __init__(self, reason: str, *, fenced: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fenced = fenced


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Preflight:
    """What preflight learnt before any worker runs."""

    partitions: Mapping[str, int] = field(default_factory=dict[str, int])
    size_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    ends: Offsets = field(default_factory=dict[Partition, int])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePlugin(Generic[S]):
    """A source to be named in YAML.

    Attributes:
        settings: Model of the `with:` block.
        build: Makes the source in a worker.
        check: Preflight, in a process of its own: reach, rights, start offsets, end offsets.
        summary: One line for `kafka-etl plugins`.
    """

    settings: type[S]
    build: Callable[[S, Deployment, Pulse], Source]
    check: Callable[[S, Deployment], Preflight]
    summary: str


@dataclass(frozen=True, slots=True)
class SinkPlugin(Generic[S]):
    """A sink to be named in YAML.

    Attributes:
        settings: Model of the `with:` block. Fields `value` and `key`, where it has them, name the
            codecs; `topic` and `routes` the topics an operator may route to.
        guarantee: The strongest it holds together with a Kafka source.
        build: Makes the sink in a worker; a `Writer` is wrapped so that offsets follow it.
        check: Preflight.
        summary: One line for `kafka-etl plugins`.
    """

    settings: type[S]
    guarantee: Guarantee
    build: Callable[[S, Deployment, Pulse], Sink | Writer]
    summary: str
    check: Callable[[S, Deployment], Preflight] = lambda _settings, _deployment: Preflight()
