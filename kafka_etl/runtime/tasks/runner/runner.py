"""The process of attempts: runs the operator for one task at a time, as its keeper says.

The process holds the user's code; whatever the code does to it, the keeper finds out. SIGTERM tells
the attempt to stop, and SIGUSR1 writes the stacks of all threads into a pipe of their own.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from types import FrameType
from typing import Any, Final, TextIO

from kafka_etl.contracts import Unavailable
from kafka_etl.invocation import ErrorInfo
from kafka_etl.log import configure, log_of_operators
from kafka_etl.runtime.child import adopt_orphans, next_task, task_of_child
from kafka_etl.runtime.messages import RunnerTask
from kafka_etl.runtime.tasks.exchange import LOG, STACKS, FromRunner, NotReady, Ready, Run
from kafka_etl.runtime.tasks.runner.bench import Bench
from kafka_etl.runtime.tasks.runner.verdicts import failure_of
from kafka_etl.runtime.user_code import restore_signals_in_forks
from kafka_etl.tasks.words import Why

_OOM_SCORE: Final = "500"
_OUTPUT, _ERRORS = 1, 2


def main() -> None:
    """Receive one task from the keeper, then run attempts until the keeper says None."""
    task: RunnerTask
    task, connection = task_of_child()
    adopt_orphans()
    restore_signals_in_forks()
    faulthandler.enable()  # the stack of a segmentation fault is in the attempt's failure
    faulthandler.register(signal.SIGUSR1, file=STACKS)
    _let_prints_out()
    _be_killed_first()
    configure(task.logs.levels, pipeline=task.document.data.get("name"), worker=task.executor)
    log_of_operators(_lines_into(LOG), task.logs.levels.get("operator", "info"))
    sys.path.insert(0, str(task.document.folder))
    speaker = _Speaker(connection)
    try:
        bench = Bench(task, speaker.say)
        _stop_on_signals(bench)
        bench.open()
    except BaseException as error:  # noqa: BLE001 - whatever the user's module raises
        why: Why = "unavailable" if isinstance(error, Unavailable) else "error"
        speaker.say(NotReady(why, failure_of(ErrorInfo.of(error))))
        sys.exit(1)
    speaker.say(Ready())
    run: Run | None
    while (run := next_task(connection)) is not None:
        speaker.say(bench.run(run))
    bench.close()


class _Speaker:
    """Sends values to the keeper, from any thread."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = Lock()

    def say(self, value: FromRunner) -> None:
        """Send a value; a keeper that is gone is found when the next task is waited for."""
        with self._lock, suppress(OSError):
            self._connection.send(value)


def _let_prints_out() -> None:
    """Have each line that is printed go out at once: somebody may follow the log."""
    for number in (LOG, STACKS):  # for this process, not for the programs that the operator starts
        os.set_inheritable(number, False)
    # Those that a fork has inherited may have been made for a file, and would seek in a pipe.
    sys.stdout, sys.stderr = _lines_into(_OUTPUT), _lines_into(_ERRORS)


def _lines_into(number: int) -> TextIO:
    return os.fdopen(number, "w", buffering=1, errors="backslashreplace", closefd=False)


def _be_killed_first() -> None:
    """Have the kernel take a runner, and no keeper or owner, when memory is short."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def _stop_on_signals(bench: Bench) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        bench.stop()

    def go_on(_number: int, _frame: FrameType | None) -> None:
        """Do nothing; SIG_IGN would be inherited by the programs that the operator starts."""

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, go_on)


if __name__ == "__main__":
    main()
