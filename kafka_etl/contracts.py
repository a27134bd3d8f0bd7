"""The shapes a plug-in fills: sources, sinks and codecs, and what passes between them.

A stranger's package needs this module, `kafka_etl.declare` and `kafka_etl.errors`, nothing else.
`kafka_etl.testing` has the suites that every implementation must pass, the built-in ones first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from kafka_etl.envelope import Provenance
from kafka_etl.invocation import Outputs, Settlement
from kafka_etl.record import Batch, Offsets, Partition
from kafka_etl.units import Duration, Size


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


class BatchSettings(Settings):
    """When a batch is full; the first limit reached counts.

    Attributes:
        max_records: Records in a batch.
        max_bytes: Bytes of their values; a larger record travels alone.
        max_wait: How long to fill a batch, counted from the last commit: an idle pipeline does
            not wait at all.
    """

    max_records: int = Field(default=10_000, ge=1, le=1_000_000)
    max_bytes: Size = Field(default=16 * 1024 * 1024, ge=1)
    max_wait: Duration = Field(default=0.02, ge=0, le=60)


class SourceSettings(Settings):
    """What every source can be told.

    Attributes:
        value: Codec of values.
        key: Codec of keys.
        batch: When a batch is full.
    """

    value: str = "bytes"
    key: str = "bytes"
    batch: BatchSettings = BatchSettings()

    def reads(self, topic: str) -> bool:
        """Whether the source would read what is written to this topic."""
        del topic
        return False


class SinkSettings(Settings):
    """What every sink can be told.

    Attributes:
        value: Codec of values; default: the source's.
        key: Codec of keys; default: the source's.
    """

    value: str | None = None
    key: str | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Where records can go; the first is the default. Empty for a sink without topics."""
        return ()

    @property
    def source_timestamp(self) -> bool:
        """Whether outputs carry the timestamp of their source record."""
        return False


@dataclass(frozen=True, slots=True)
class Codec:
    """Bytes to values and back.

    Both functions are called once per record: a C function given as it is costs nothing extra.
    They raise any exception for what they cannot do; the record then becomes a dead letter.
    Bytes stay bytes: a codec never sees a null value, and `encode` never sees `bytes`.

    Attributes:
        of_class: The same codec for objects of a class with fields (`kafka_etl.typed`), where
            there is a shorter way than by plain data.
    """

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    of_class: Callable[[type], Codec] | None = None


ClientSettings = Mapping[str, str | int | float | bool]
"""Kafka client settings by librdkafka's own names."""

Pulse = Callable[[str], None]
"""Called several times a second in every wait, with what stands in the way; raises `Abandoned` when
the wait must end."""


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
        provenance: What dead letters say about where they come from.
        dead_letter_topic: Where they go, if anywhere.
        size_limits: Topic -> largest record its broker takes, in bytes, as preflight read it.
        partitions: Topic -> number of partitions, as preflight read it.
    """

    pipeline: str
    member: str
    kafka: ClientSettings
    consumer: ClientSettings
    producer: ClientSettings
    provenance: Provenance
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

    @property
    def joined(self) -> bool:
        """Whether it is a member of its group, be it without a partition."""
        ...

    def finished(self, ends: Offsets) -> bool:
        """Whether the group has committed these offsets, wherever its members run."""
        ...

    def close(self) -> None:
        """Leave. Never raises; what was not settled is read again by the next owner."""
        ...


class Sink(Protocol):
    """Makes a settlement durable as one act."""

    def open(self) -> None:
        """Become ready; called again after `OutcomeUnknown`, it settles what was left undecided."""
        ...

    def commit(self, settlement: Settlement) -> None:
        """Return when the whole settlement is durable.

        Raises:
            Aborted: Nothing of it is durable.
            OutcomeUnknown: It may or may not be; `open` decides it.
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


SourceS = TypeVar("SourceS", bound=SourceSettings)
SinkS = TypeVar("SinkS", bound=SinkSettings)


@dataclass(frozen=True, slots=True)
class Preflight:
    """What preflight learnt before any worker runs."""

    partitions: Mapping[str, int] = field(default_factory=dict[str, int])
    size_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    ends: Offsets = field(default_factory=dict[Partition, int])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePlugin(Generic[SourceS]):
    """A source to be named in YAML.

    Attributes:
        settings: Model of the `with:` block.
        build: Makes the source in a worker.
        check: Preflight, in a process of its own: reach, rights, start offsets, end offsets.
        summary: One line for `kafka-etl plugins`.
    """

    settings: type[SourceS]
    build: Callable[[SourceS, Deployment, Pulse], Source]
    check: Callable[[SourceS, Deployment], Preflight]
    summary: str


@dataclass(frozen=True, slots=True)
class SinkPlugin(Generic[SinkS]):
    """A sink to be named in YAML.

    Attributes:
        settings: Model of the `with:` block.
        guarantee: The strongest it holds together with a Kafka source.
        build: Makes the sink in a worker: a `Sink` when it holds exactly_once, else a `Writer`,
            which is wrapped so that offsets follow its outputs.
        check: Preflight.
        summary: One line for `kafka-etl plugins`.
    """

    settings: type[SinkS]
    guarantee: Guarantee
    build: Callable[[SinkS, Deployment, Pulse], Sink | Writer]
    summary: str
    check: Callable[[SinkS, Deployment], Preflight] = lambda _settings, _deployment: Preflight()
