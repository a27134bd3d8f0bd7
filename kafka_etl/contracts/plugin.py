"""Plug-ins behind the names of sources and sinks in a pipeline file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from kafka_etl.contracts.deployment import ClientSettings, Deployment, Pulse
from kafka_etl.contracts.doors import Sender, Store, Writer
from kafka_etl.contracts.label import Label
from kafka_etl.contracts.settings import SinkSettings, SourceSettings
from kafka_etl.contracts.sink import Sink
from kafka_etl.contracts.source import Accounts, Source
from kafka_etl.contracts.table import Column
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
        all_ends: End offsets of all the source's partitions.
        begins: Partition of the source -> offset that the group has committed.
        notes_of_group: Partition of the source -> text beside that offset.
        cluster: Kafka's id of the cluster; empty: unknown.
        topic_ids: Topic of the source -> Kafka's id of the topic.
        largest_record: The largest record that the source's topics take, in bytes; 0: unknown.
        columns: Columns of the sink's table; empty for a sink without a table.
        label: What the sink promises after a look at its target; None: what its settings promise.
            May only be weaker.
        notes: Remarks for the user.
    """

    partitions: Mapping[str, int] = field(default_factory=dict[str, int])
    size_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    ends: Offsets = field(default_factory=dict[Partition, int])
    all_ends: Offsets = field(default_factory=dict[Partition, int])
    begins: Offsets = field(default_factory=dict[Partition, int])
    notes_of_group: Mapping[Partition, str] = field(default_factory=dict[Partition, str])
    cluster: str = ""
    topic_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    largest_record: int = 0
    columns: tuple[Column, ...] = ()
    label: Label | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePlugin(Generic[SourceS]):
    """A source that a pipeline file can name.

    Attributes:
        settings: Model of the `with:` block.
        build: Makes the source in a worker.
        check: Preflight, in a process of its own: reach, rights, start offsets, end offsets. Heeds
            `Deployment.looks_only`.
        summary: One line for `kafka-etl plugins`.
        accounts: Makes the records that move with the offsets of this source, from its settings and
            those of a consumer; None: there are none.
    """

    settings: type[SourceS]
    build: Callable[[SourceS, Deployment, Pulse], Source]
    check: Callable[[SourceS, Deployment], Preflight]
    summary: str
    accounts: Callable[[SourceS, ClientSettings], Accounts] | None = None


@dataclass(frozen=True, slots=True)
class SinkPlugin(Generic[SinkS]):
    """A sink that a pipeline file can name.

    What the sink takes follows from the class of its settings: `ByteSinkSettings`: encoded values;
    `TableSettings`: rows of a table.

    Attributes:
        settings: Model of the `with:` block.
        label: The guarantee that the sink holds with these settings, together with a Kafka source.
        build: Makes the sink in a worker: one of the three doors. Connects to nothing.
        summary: One line for `kafka-etl plugins`.
        check: Checks the target before any worker runs, in a process of its own. Heeds
            `Deployment.looks_only`.
        letters: Where the sink can write dead letters in the transaction of its rows: a `topic` of
            the pipeline's cluster, or a `table` (`Deployment.letter_table`); None: nowhere.
        require: Raises `ExtraMissing` if a package that the sink needs is not installed.
    """

    settings: type[SinkS]
    label: Callable[[SinkS], Label]
    build: Callable[[SinkS, Deployment], Sink | Sender | Writer | Store]
    summary: str
    check: Callable[[SinkS, Deployment], Preflight] = lambda _settings, _deployment: Preflight()
    letters: Literal["topic", "table"] | None = None
    require: Callable[[], None] = lambda: None
