"""The deployment of a worker, and the pulse that interrupts the waits of sources and sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kafka_etl.envelope import Provenance

ClientSettings = Mapping[str, str | int | float | bool]
"""Kafka client settings by librdkafka's own names."""

Pulse = Callable[[str], None]
"""Sources and sinks call the pulse several times a second in every wait, with the wait's reason.

The pulse keeps the daemon informed; it raises `Abandoned` when the wait must end. Only the worker's
main thread and the commit thread may call the pulse.
"""


class Abandoned(Exception):
    """The worker must stop now: unsettled records are run again by the next owner."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The facts about a worker that its source and sink get besides their settings.

    Attributes:
        pipeline: Name of the pipeline.
        member: `<app>.<pipeline>.<instance>.<worker>`: group member and transactional id.
        kafka: Client settings for every client of the pipeline.
        consumer: Further client settings for consumers.
        producer: Further client settings for producers.
        provenance: The origin that dead letters state in their headers.
        dead_letter_topic: Topic of dead letters; None: the pipeline has no dead-letter topic.
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
