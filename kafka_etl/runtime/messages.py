"""What the daemon and its child processes tell each other: values that cross a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kafka_etl.config.document import Document
from kafka_etl.contracts import Guarantee, Position, Preflight
from kafka_etl.dead_letters import Cause
from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.errors import Problem
from kafka_etl.record import Partition

Command = Literal["pause", "resume", "drain"]
"""What the daemon asks of a worker."""

WorkerState = Literal["starting", "running", "paused", "draining"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How processes log: component -> level, "" for all others."""

    levels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PreflightTask:
    """Check one pipeline against its cluster: the answer is `Checked`, or `Ended` with a problem.

    The first worker does so before its `WorkerTask` comes: it has imported everything by then.
    """

    document: Document
    member: str
    logs: LogSettings


@dataclass(frozen=True, slots=True)
class Checked:
    """Preflight found nothing wrong."""

    preflight: Preflight
    guarantee: Guarantee


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """Run one worker of one pipeline.

    Attributes:
        member: Its id in the group and towards the transaction coordinator.
        until_end: Stop once the group has committed the end offsets of `preflight`.
        evidence: Of the predecessor's death, if it died inside an operator.
        paused: Whether to begin paused.
    """

    document: Document
    worker: int
    member: str
    recorder: Path
    preflight: Preflight
    until_end: bool
    evidence: Evidence | None
    paused: bool
    logs: LogSettings


@dataclass(frozen=True, slots=True)
class OperatorTask:
    """Run one operator of one pipeline for its worker.

    Attributes:
        operator: By the name it has in the pipeline.
        hand: Descriptor of the file that says what it has in hand.
    """

    document: Document
    operator: str
    worker: int
    member: str
    hand: int
    logs: LogSettings


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a worker says of itself, several times a second and when its state changes.

    Attributes:
        counters: (metric, label value) -> count since the worker began.
        positions: How far each of its partitions is.
        joined: Whether the group has given it an assignment, be it empty.
        trouble: What is in the way right now.
        problem: Why it paused.
        causes: Why records became dead letters, the commonest first.
    """

    state: WorkerState
    at_ms: int
    counters: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    positions: Mapping[Partition, Position] = field(default_factory=dict[Partition, Position])
    joined: bool = False
    trouble: str | None = None
    problem: Problem | None = None
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker's last word. Without one, or with `Died`, it died.

    Attributes:
        how: `finished`: the end offsets are committed; `drained`: as it was told; `failed`.
    """

    how: Literal["finished", "drained", "failed"]
    snapshot: Snapshot
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Died:
    """The last word of a process that ends by an exception: the daemon starts another.

    Attributes:
        reason: The exception, on one line.
    """

    reason: str
