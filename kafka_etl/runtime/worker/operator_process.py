"""The process of one operator with `isolation: process`; the process has no Kafka client.

The process ignores SIGTERM and SIGINT, and is killed together with its worker: a worker that
drains still calls the operator.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from kafka_etl.config.build import build_operator
from kafka_etl.engine.pools.call_clock import CallClock
from kafka_etl.engine.pools.processes import Spawn
from kafka_etl.engine.pools.serve import serve
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.log import configure
from kafka_etl.plugins import PluginRegistry
from kafka_etl.runtime.child import OperatorChild, task_of_child
from kafka_etl.runtime.messages import OperatorTask, WorkerTask
from kafka_etl.runtime.user_code import restore_signals_in_forks, set_stdout_aside


def isolated(task: WorkerTask) -> Spawn:
    """Return the function with which the worker of this task starts an operator's process."""

    def spawn(operator: str, hand: int) -> OperatorChild:
        child = OperatorChild("kafka_etl.runtime.worker.operator_process", hand)
        child.send(OperatorTask(task.document, operator, task.worker, task.member, hand, task.logs))
        return child

    return spawn


def main() -> None:
    """Receive one task from the worker, then serve the worker's calls of the operator."""
    task: OperatorTask
    task, connection = task_of_child()
    set_stdout_aside()
    restore_signals_in_forks()
    configure(task.logs.levels, pipeline=task.document.data.get("name"), worker=task.worker)
    sys.path.insert(0, str(task.document.folder))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _go_on)

    def make() -> BoundOperator:
        operator = build_operator(task.document, PluginRegistry.installed(), task.operator)
        operator.context.worker = task.member
        return operator

    serve(make, connection, CallClock(task.hand))


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Do nothing on a signal.

    SIG_IGN is not used, since processes that the operator starts would inherit SIG_IGN.
    """


if __name__ == "__main__":
    main()
