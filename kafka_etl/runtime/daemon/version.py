"""One version of a pipeline: its file as read at one time, and the tasks of its processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kafka_etl.config.document import Document
from kafka_etl.config.model import PipelineSpec
from kafka_etl.contracts import Preflight
from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.runtime.daemon.slot import Watch
from kafka_etl.runtime.daemon.state_folder import StateFolder
from kafka_etl.runtime.messages import KeeperTask, LogSettings, PreflightTask, WorkerTask
from kafka_etl.runtime.tasks.place import socket_of
from kafka_etl.runtime.tasks.requests import TaskDoor
from kafka_etl.tasks.limits import Limits
from kafka_etl.tasks.placing import owners_of

_APP: Final = "kafka-etl"
_TASK_INBOX: Final = "task_inbox"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The settings with which a daemon runs all its pipelines.

    Attributes:
        until_end: Whether to stop at the end offsets seen at the start.
        workers: Workers of each pipeline; None: the number in the pipeline's file.
        logs: Log levels of the processes.
    """

    until_end: bool
    workers: int | None
    logs: LogSettings


@dataclass(frozen=True, slots=True)
class Version:
    """A pipeline file as it was read at one time, for one daemon."""

    document: Document
    spec: PipelineSpec
    folder: StateFolder
    options: RunOptions

    @property
    def workers(self) -> int:
        return self.options.workers or self.spec.workers

    @property
    def group(self) -> str:
        """The consumer group in which the pipeline reads."""
        return str(self.spec.source.with_.get("group") or self.spec.name)

    @property
    def watch(self) -> Watch:
        return Watch([(use.label, use.timeout) for use in self.spec.operators])

    def recorder(self, worker: int) -> Path:
        return self.folder.recorder(self.spec.name, worker)

    def preflight_task(self) -> PreflightTask:
        return PreflightTask(self.document, self._member("preflight"), self.options.logs)

    def worker_task(
        self, worker: int, preflight: Preflight, evidence: Evidence | None, *, paused: bool
    ) -> WorkerTask:
        return WorkerTask(
            document=self.document,
            worker=worker,
            member=self._member(worker),
            recorder=self.recorder(worker),
            preflight=preflight,
            until_end=self.options.until_end,
            evidence=evidence,
            paused=paused,
            logs=self.options.logs,
        )

    def keeper_task(self) -> KeeperTask | None:
        """The task of the keeper that runs the attempts of the tasks; None: there are no tasks."""
        if self.spec.source.use != _TASK_INBOX:
            return None
        settings = self.spec.source.with_
        return KeeperTask(
            document=replace(self.document, data=settings["run"]),
            socket=socket_of(self.folder.path, self.spec.name),
            spool=self.folder.path / f"{self.spec.name}.keeper",
            executor=self.folder.instance,
            slots=settings["slots"],
            timeout=settings["timeout"],
            stop_grace=settings["stop_grace"],
            pool=settings["pool"],
            partitions=settings["partitions"],
            lost_after=settings["lost_after_ms"] / 1000,
            logs=self.options.logs,
            idempotent=settings["idempotent"],
            max_result=settings["max_result"],
            log_limit=settings["logs"],
            limits=Limits(settings["max_memory"], settings["max_cpu"]),
            finish_within=settings["finish_within"],
            sinks=tuple(settings["sinks"]),
        )

    def task_door(self) -> TaskDoor | None:
        """How one reaches the tasks that the pipeline owns; None: it owns none."""
        spec = self.spec
        if spec.source.use != _TASK_INBOX:
            return None
        client = {"log_level": 0, **spec.kafka}  # our own errors say what the client would log
        return TaskDoor(
            name=spec.name.removesuffix(owners_of("")),
            client=client,
            consumer={**client, **spec.consumer},
            producer={**client, **spec.producer},
            logs=str(spec.source.with_["logs_topic"]),
            order=spec.source.with_["order"],
            cache=self.folder.path / "cache",
        )

    def _member(self, worker: int | str) -> str:
        """Return the member id of a worker, which stays the same over restarts."""
        return member_id(self.spec.name, self.folder.instance, worker)


def member_id(pipeline: str, instance: str, worker: int | str) -> str:
    """Return the member id of a worker, unique among all pipelines and instances.

    The names of pipelines and instances may have dots, so that two pairs of names could join into
    one id. Therefore `I.` comes before an instance with dots: no pipeline's name has a capital.
    """
    return f"{_APP}.{pipeline}.{'I.' if '.' in instance else ''}{instance}.{worker}"
