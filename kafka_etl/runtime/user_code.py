"""User code in our processes: the target of its prints, and the signal setup of its forks."""

from __future__ import annotations

import os
import signal


def set_stdout_aside() -> int:
    """Keep standard output for sinks: prints of user code and its children go to standard error.

    To be called before any user module is imported, since the import itself may print.

    Returns:
        A descriptor of the real standard output.
    """
    real = os.dup(1)
    os.dup2(2, 1)
    return real


def restore_signals_in_forks() -> None:
    """Give processes that user code forks the default signal handling.

    A fork with the worker's own signal handling would ignore SIGTERM: `Process.terminate()` would
    do nothing, and a `multiprocessing.Pool` would not end.
    """
    os.register_at_fork(after_in_child=_restore_signals)


def _restore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
