"""User code in our processes: where its prints go, and what the processes it forks inherit."""

from __future__ import annotations

import os
import signal


def set_stdout_aside() -> int:
    """Keep standard output for sinks: prints of user code and its children go to standard error.

    Called before any user module is imported, which may print as well.

    Returns:
        A descriptor of the real standard output.
    """
    real = os.dup(1)
    os.dup2(2, 1)
    return real


def restore_signals_in_forks() -> None:
    """Give processes that user code forks the default signal handling.

    A copy of a worker's handlers would make the fork deaf: `Process.terminate()` would do nothing,
    and a `multiprocessing.Pool` would not end.
    """
    os.register_at_fork(after_in_child=_restore_signals)


def _restore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
