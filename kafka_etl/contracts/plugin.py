"""Plug-ins behind the names of sources and sinks in a pipeline file."""

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
    """The findings of the preflight, before any worker runs.

    Attributes:
        partitions: Topic -> number of partitions.
        size_limits: Topic that is written -> largest record its broker takes, in bytes.
        ends: End offsets of the source's partitions that the group has not read to their end.
        largest_record: The largest record that the source's topics take, in bytes; 0: unknown.
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
        guarantee: The strongest guarantee that the sink holds together with a Kafka source.
        build: Makes the sink in a worker: a `Sink` for exactly_once, else a `Writer`, whose outputs
            the offsets follow.
        check: Checks the target before any worker runs.
        summary: One line for `kafka-etl plugins`.
    """

    settings: type[SinkS]
    guarantee: Guarantee
    build: Callable[[SinkS, Deployment, Pulse], Sink | Writer]
    summary: str
    check: Callable[[SinkS, Deployment], Preflight] = lambda _settings, _deployment: Preflight()
