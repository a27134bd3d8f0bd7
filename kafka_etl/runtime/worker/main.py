"""The process of a worker: receives tasks from the daemon and sends the result back."""

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
from kafka_etl.runtime.tasks.operator_check import OperatorCheck
from kafka_etl.runtime.user_code import restore_signals_in_forks, set_stdout_aside
from kafka_etl.runtime.worker import preflight
from kafka_etl.runtime.worker.worker import Worker, now_ms


def main() -> None:
    """Run the tasks that the daemon sends, and send `Ended` or `Died` as the last value."""
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
    except BaseException as error:  # noqa: BLE001 - the daemon gets one line and restarts us
        info = ErrorInfo.of(error)
        said = f"{info.type}: {info.message}"
        frames = "".join(format_tb(error.__traceback__))  # with the engine's frames
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
    """Return the worker's task; if the first task is a preflight, run the preflight before."""
    if isinstance(task, WorkerTask):
        return task

    def tell(waiting_for: str) -> None:
        connection.send(Snapshot("starting", now_ms(), trouble=waiting_for))

    operator = OperatorCheck(task.document)
    checked = preflight.check(pipeline, task.member, tell)
    operator.finish()
    connection.send(checked)
    following: WorkerTask = next_task(connection)
    _configure_logs(following)
    return following


def _configure_logs(task: PreflightTask | WorkerTask) -> None:
    worker = task.worker if isinstance(task, WorkerTask) else "preflight"
    configure(task.logs.levels, pipeline=task.document.data.get("name"), worker=worker)


def _collect_garbage_rarely(pipeline: Pipeline) -> None:
    """Raise the threshold of the garbage collector, so that it runs less than once a batch.

    The records, values and outputs of a batch are many objects that are freed together and hold no
    cycles. With the default threshold the collector would visit each object two or three times,
    which costs a fifth of the worker's time. Cycles that operators make are still collected, after
    many batches.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20 * pipeline.source_settings.batch.max_records)


if __name__ == "__main__":
    main()
