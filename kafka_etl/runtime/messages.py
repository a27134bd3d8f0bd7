"""What the daemon and its child processes tell each other: values that cross a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kafka_etl.config.document import Document
from kafka_etl.contracts import Guarantee, Preflight
from kafka_etl.dead_letters import Cause
from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.errors import Problem

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
        cautious: Whether to begin with batches of one record, and to name the record of each such
            batch in the flight recorder: predecessors died, and not in an operator.
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
    cautious: bool = False


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
class Standing:
    """How far partitions are, all of them together.

    Attributes:
        partitions: How many there are.
        lag: Records not settled, over all of them; None: there is none, or of one it is unknown.
        settled_to_ms: Up to which time the one furthest behind is settled; None: none is behind.
    """

    partitions: int = 0
    lag: int | None = None
    settled_to_ms: int | None = None

    @classmethod
    def of_all(cls, standings: Iterable[Standing]) -> Standing:
        """Several of them as one; those without a partition have no part in it."""
        held = [standing for standing in standings if standing.partitions]
        lags = [standing.lag for standing in held if standing.lag is not None]
        settled = [at for standing in held if (at := standing.settled_to_ms) is not None]
        return cls(
            sum(standing.partitions for standing in held),
            sum(lags) if lags and len(lags) == len(held) else None,
            min(settled, default=None),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a worker says of itself, twice a second and when its state changes.

    Attributes:
        counters: (metric, label value) -> count since the worker began.
        standing: How far its partitions are.
        noted: Whether what it knows of its predecessor's death stands beside the offsets, for good.
        joined: Whether the group has given it an assignment, be it empty.
        trouble: What is in the way right now.
        problem: Why it paused.
        causes: Why records became dead letters, the commonest first.
    """

    state: WorkerState
    at_ms: int
    counters: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    standing: Standing = Standing()
    noted: bool = False
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
