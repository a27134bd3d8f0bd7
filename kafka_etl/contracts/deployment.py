"""The deployment of one worker, and the pulse of its waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kafka_etl.contracts.source import Accounts
from kafka_etl.contracts.table import Column
from kafka_etl.envelope import Provenance

ClientSettings = Mapping[str, str | int | float | bool]
"""Kafka client settings by librdkafka's own names."""

Pulse = Callable[[str], None]
"""A function that sources and sinks call in long waits, as the worker's sign of life.

The source or sink calls the pulse on the thread on which it was called itself: for the first time
after a few seconds of waiting, then every few seconds. The daemon kills a worker that shows no sign
of life for a minute. The argument is the reason of the wait, which becomes the pipeline's trouble.
On the main thread the pulse also reports to the daemon, and for that reads `Source.positions` and
`Source.joined`. The pulse raises `Abandoned` when a stopping worker has used up its drain timeout.
"""


def _silent(_reason: str) -> None:
    """The pulse of whoever waits for nothing."""


class Abandoned(Exception):
    """Raised when the worker must stop now; unsettled records are run again later."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Facts about one worker of one pipeline, which sources and sinks get beside their settings.

    Attributes:
        pipeline: Name of the pipeline.
        member: `<app>.<pipeline>.<instance>.<worker>`: group member and transactional id.
        kafka: Client settings for every client of the pipeline.
        consumer: Further client settings for consumers.
        producer: Further client settings for producers.
        provenance: Facts about the pipeline for dead letters.
        dead_letter_topic: Topic of dead letters; None: they go elsewhere, or the pipeline stops.
        letter_format: How a dead letter is written to that topic.
        letter_table: The store's own table for dead letters; None: the store writes none.
        size_limits: Topic -> largest record its broker takes, in bytes, as preflight read it.
        partitions: Topic -> number of partitions, as preflight read it.
        group: The consumer group.
        replay: Id of the replay of dead letters that runs; empty: the pipeline itself runs.
        cluster: Kafka's id of the cluster, as preflight read it; empty: unknown.
        topic_ids: Topic of the source -> Kafka's id of the topic, as preflight read it.
        columns: Columns of the sink's table, as preflight read them.
        offsets_in_sink: Whether the sink keeps the offsets; the group's are a copy for lag tools.
        folder: Folder of the pipeline file, for paths among the settings.
        stdout: Descriptor of the real standard output. Descriptor 1 may be user code's own, whose
            prints must not get between the lines of a sink.
        accounts: Records that move with the source's offsets; None: there are none.
        looks_only: For checks: whether they only look, for `doctor` and `validate --connect`. Then
            they make no topic, table, file or offset, say among their notes what would be made, and
            raise `Unreachable` for a target that is away.
        pulse: For a sink of the framework's own; see `Pulse`. The three doors need none.
    """

    pipeline: str
    member: str
    kafka: ClientSettings
    consumer: ClientSettings
    producer: ClientSettings
    provenance: Provenance
    dead_letter_topic: str | None = None
    letter_format: Literal["raw", "raw+connect", "envelope"] = "raw"
    letter_table: str | None = None
    size_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    partitions: Mapping[str, int] = field(default_factory=dict[str, int])
    group: str = ""
    replay: str = ""
    cluster: str = ""
    topic_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    columns: tuple[Column, ...] = ()
    offsets_in_sink: bool = False
    folder: Path = Path()
    stdout: int = 1
    accounts: Accounts | None = None
    looks_only: bool = False
    pulse: Pulse = _silent
