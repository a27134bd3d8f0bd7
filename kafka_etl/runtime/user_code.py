"""User code in our processes: the target of its prints, and the signal setup of its forks."""

from __future__ import annotations

import os
import signal
from threading import local
from typing import Final


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

    A copy of the worker's handlers would make the fork deaf: `Process.terminate()` would do
    nothing, and a `multiprocessing.Pool` would not end. Both signals are blocked during the fork:
    Python forgets a signal that arrives in the copy before the copy has its own handlers.
    """
    os.register_at_fork(
        before=_block, after_in_parent=_unblock, after_in_child=_restore_and_unblock
    )


_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_mask = local()


def _block() -> None:
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _restore_and_unblock() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _unblock()
