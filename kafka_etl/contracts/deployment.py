"""Where a worker of a pipeline runs, and what interrupts its waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kafka_etl.envelope import Provenance

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
        stdout: Descriptor of the real standard output. Descriptor 1 may be user code's own, whose
            prints must not get between the lines of a sink.
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
    stdout: int = 1
