"""The process of a worker: its tasks come through a pipe, its last word goes back."""

from __future__ import annotations

import gc
import signal
import sys
from multiprocessing.connection import Connection
from traceback import format_tb
from types import FrameType
from typing import Any

from kafka_etl.config.build import Pipeline, build
from kafka_etl.errors import KafkaEtlError
from kafka_etl.invocation import ErrorInfo
from kafka_etl.log import configure, get_logger
from kafka_etl.plugins import PluginRegistry
from kafka_etl.runtime.child import next_task, task_of_child
from kafka_etl.runtime.messages import (
    Died,
    Ended,
    PreflightTask,
    Snapshot,
    WorkerTask,
)
from kafka_etl.runtime.user_code import restore_signals_in_forks, set_stdout_aside
from kafka_etl.runtime.worker import preflight
from kafka_etl.runtime.worker.worker import Worker, now_ms


def main() -> None:
    """The process: tasks come through the pipe, the last word goes back."""
    task: PreflightTask | WorkerTask
    task, connection = task_of_child()
    stdout = set_stdout_aside()
    restore_signals_in_forks()
    _configure_logs(task)
    sys.path.insert(0, str(task.document.folder))
    try:
        connection.send(_work(task, connection, stdout))
    except KafkaEtlError as error:
        connection.send(Ended("failed", Snapshot("starting", now_ms()), error.problem))
    except BaseException as error:  # noqa: BLE001 - said in one line, and the daemon starts another
        info = ErrorInfo.of(error)
        said = f"{info.type}: {info.message}"
        frames = "".join(format_tb(error.__traceback__))  # those of the engine, too
        get_logger("worker").error("died", error=said, traceback=frames)
        connection.send(Died(said))
        sys.exit(1)


def _work(task: PreflightTask | WorkerTask, connection: Connection[Any, Any], stdout: int) -> Ended:
    pipeline = build(task.document, PluginRegistry.installed())
    worker = Worker(pipeline, _checked(task, pipeline, connection), connection, stdout)

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    _collect_garbage_rarely(pipeline)
    return worker.run()


def _checked(
    task: PreflightTask | WorkerTask, pipeline: Pipeline, connection: Connection[Any, Any]
) -> WorkerTask:
    """The worker's task; before that its preflight, if it was chosen for it."""
    if isinstance(task, WorkerTask):
        return task

    def tell(waiting_for: str) -> None:
        connection.send(Snapshot("starting", now_ms(), trouble=waiting_for))

    connection.send(preflight.check(pipeline, task.member, tell))
    following: WorkerTask = next_task(connection)
    _configure_logs(following)
    return following


def _configure_logs(task: PreflightTask | WorkerTask) -> None:
    worker = task.worker if isinstance(task, WorkerTask) else "preflight"
    configure(task.logs.levels, pipeline=task.document.data.get("name"), worker=worker)


def _collect_garbage_rarely(pipeline: Pipeline) -> None:
    """Let a batch live and die without the collector looking at it.

    Records, values and outputs of a batch are many objects that all go at once and hold no cycles;
    by default the collector would visit each of them two or three times, a fifth of all work.
    Cycles that operators make are still found, once there are as many objects as in many batches.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20 * pipeline.source_settings.batch.max_records)


if __name__ == "__main__":
    main()
