"""The plug-ins that a pipeline file names as its source and its sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kafka_etl.contracts.deployment import Deployment, Pulse
from kafka_etl.contracts.settings import Guarantee, SinkSettings, SourceSettings
from kafka_etl.contracts.sink import Sink, Writer
from kafka_etl.contracts.source import Source
from kafka_etl.record import Offsets, Partition

SourceS = TypeVar("SourceS", bound=SourceSettings)
SinkS = TypeVar("SinkS", bound=SinkSettings)


@dataclass(frozen=True, slots=True)
class Preflight:
    """The facts that preflight reads before any worker runs.

    Attributes:
        partitions: Topic -> number of partitions.
        size_limits: Output topic -> largest record that the broker accepts, in bytes.
        ends: End offsets of those source partitions that the group has not read to the end.
        largest_record: Largest record that the source's topics accept, in bytes; 0: unknown.
        notes: Remarks for the user.
    """

    partitions: Mapping[str, int] = field(default_factory=dict[str, int])
    size_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    ends: Offsets = field(default_factory=dict[Partition, int])
    largest_record: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePlugin(Generic[SourceS]):
    """A source that a pipeline file can name.

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
    """A sink that a pipeline file can name.

    Attributes:
        settings: Model of the `with:` block.
        guarantee: The strongest guarantee of the sink together with a Kafka source.
        build: Builds, in a worker, a `Sink` if the guarantee is exactly_once, else a `Writer`; the
            worker wraps a writer, and commits offsets after the writer's outputs.
        check: Preflight.
        summary: One line for `kafka-etl plugins`.
    """

    settings: type[SinkS]
    guarantee: Guarantee
    build: Callable[[SinkS, Deployment, Pulse], Sink | Writer]
    summary: str
    check: Callable[[SinkS, Deployment], Preflight] = lambda _settings, _deployment: Preflight()
