"""The values that the daemon, its workers and the operators' processes send each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kafka_etl.config.document import Document
from kafka_etl.contracts import Label, Preflight
from kafka_etl.dead_letters import Cause
from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.errors import Problem
from kafka_etl.tasks.limits import MAX_RESULT, Limits

Command = Literal["pause", "resume", "drain"]
"""A command of the daemon to a worker."""

WorkerState = Literal["starting", "running", "paused", "draining"]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log levels of a process.

    Attributes:
        levels: Component -> level; the component "" stands for all components without an entry.
    """

    levels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PreflightTask:
    """The task to check one pipeline against its cluster.

    The process answers with `Checked`, or with `Ended` and a problem. After `Checked` the same
    process gets a `WorkerTask` and becomes the first worker, with all imports done.

    Attributes:
        member: Member id under which the preflight connects to the cluster.
    """

    document: Document
    member: str
    logs: LogSettings


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a preflight that found no problem.

    Attributes:
        label: The guarantee that the pipeline runs with.
    """

    preflight: Preflight
    label: Label


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """The task to run one worker of one pipeline.

    Attributes:
        worker: Number of the worker in its pipeline, from 0.
        member: Member id in the consumer group, and transactional id of the producer.
        recorder: Path of the flight recorder's file.
        until_end: Whether to stop once the group has committed the end offsets of `preflight`.
        evidence: Evidence of the predecessor's death inside an operator; None: no such death.
        paused: Whether the worker begins paused.
        cautious: Whether the worker begins with batches of one record, and names the record of each
            such batch in the flight recorder: predecessors died outside of operators.
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
    """The task to run one operator of one pipeline in a process of its own.

    Attributes:
        operator: Name of the operator in the pipeline.
        worker: Number of the worker that calls the operator.
        member: Member id of that worker.
        hand: Descriptor of the call clock's shared memory, which names the call in progress.
    """

    document: Document
    operator: str
    worker: int
    member: str
    hand: int
    logs: LogSettings


@dataclass(frozen=True, slots=True)
class KeeperTask:
    """The task to keep the attempts of one pipeline with `mode: task`.

    The keeper answers with `Listening` once its socket is there.

    Attributes:
        document: The run document: the source's codecs, the operator, and the sink that the results
            are encoded for.
        socket: Path of the socket that the keeper makes, and owners connect to.
        spool: Folder of the keeper alone, for last words, and for the attempts' scratch folders.
        executor: Name of the executor in words.
        slots: Number of attempts that run at the same time.
        timeout: Seconds that an attempt may take; None: no limit.
        stop_grace: Seconds from SIGTERM to SIGKILL.
        pool: `warm`: a process serves one attempt after the other; `fresh`: one attempt each.
        partitions: Number of the inbox's partitions.
        lost_after: Seconds of silence after which an owner takes the executor for lost.
        max_result: Bytes of an encoded result; a larger one fails for good.
        idempotent: Whether an attempt that may have begun may be followed by another.
        log_limit: Bytes of the log of an attempt, half of them from its beginning and half from its
            end; 0: nothing is kept.
        limits: What an attempt may use.
        finish_within: Seconds that attempts may go on after SIGTERM, unless SIGINT comes; 0: they
            are interrupted.
        sinks: Further sinks that the results are encoded for.
    """

    document: Document
    socket: Path
    spool: Path
    executor: str
    slots: int
    timeout: float | None
    stop_grace: float
    pool: Literal["warm", "fresh"]
    partitions: int
    logs: LogSettings
    lost_after: float = 60.0
    max_result: int = MAX_RESULT
    idempotent: bool = True
    log_limit: int = 1024 * 1024
    limits: Limits = field(default_factory=Limits)
    finish_within: float = 0.0
    sinks: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Listening:
    """The first value of a keeper: owners can connect.

    Attributes:
        boot: Id of the keeper's start.
    """

    boot: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The keeper runs; said several times in the time of a lease."""


@dataclass(frozen=True, slots=True)
class RunnerTask:
    """The task to run attempts, one after the other, that a keeper sends.

    Attributes:
        document: The run document.
        executor: Name of the executor, for `Context.worker`.
        is_fresh: Whether the process runs a single attempt.
        max_result: Bytes of an encoded result; a larger one fails for good.
        sinks: Further sinks that the results are encoded for.
    """

    document: Document
    executor: str
    is_fresh: bool
    max_result: int
    logs: LogSettings
    sinks: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """The progress of several partitions, summed up.

    Attributes:
        partitions: Number of partitions.
        lag: Sum of the partitions' lags, in records; None: there is no partition, or the lag of one
            is unknown.
        settled_to_ms: Time up to which the partition furthest behind is settled, in milliseconds
            since the epoch; None: no partition has a lag.
    """

    partitions: int = 0
    lag: int | None = None
    settled_to_ms: int | None = None

    @classmethod
    def of_all(cls, standings: Iterable[Standing]) -> Standing:
        """Sum up several standings; a standing without partitions is left out."""
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
    """A worker's report to the daemon, sent twice a second and whenever the worker's state changes.

    Attributes:
        at_ms: Time of the report, in milliseconds since the epoch.
        counters: (metric, label value) -> count since the worker began.
        standing: Progress of the worker's partitions.
        noted: Whether the evidence of a predecessor's death is committed, as a note beside the
            offsets.
        joined: Whether the group has given the worker an assignment, possibly an empty one.
        trouble: Obstacle that the worker waits for at present, in words; None: no obstacle.
        problem: Problem for which the worker paused by itself; None: no such pause.
        causes: Causes of the worker's dead letters, the commonest first.
        gauges: (metric, label value) -> present value.
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
    gauges: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])


@dataclass(frozen=True, slots=True)
class Ended:
    """The last value that a worker sends; a worker that ends without an `Ended` has died.

    Attributes:
        how: `finished`: the end offsets are committed; `drained`: the worker stopped on a command
            or signal; `failed`: an error stopped the worker.
        problem: Problem that stopped the worker; None unless `how` is `failed`.
    """

    how: Literal["finished", "drained", "failed"]
    snapshot: Snapshot
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Died:
    """The last value of a process that an unexpected exception ends.

    The daemon restarts such a worker, and gives up such a preflight.

    Attributes:
        reason: Type and text of the exception.
    """

    reason: str
