"""A process that has imported what every runner needs, and becomes a runner by forking.

The imports of a runner take half a second of CPU time, a fork takes milliseconds: many attempts
that begin at once, or a keeper that begins anew, would else wait for imports. The user's modules
are imported by the runner alone, so no thread and no lock of theirs is ever forked. On Linux only:
elsewhere a runner could not become a child of the keeper.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import sys
import time
from typing import Final

from kafka_etl.runtime.child import end_with_parent
from kafka_etl.runtime.tasks.exchange import CONNECTION, LOG, STACKS
from kafka_etl.runtime.tasks.runner import runner

READY: Final = b"ready"
_PLACES: Final = (1, 2, CONNECTION, LOG, STACKS)
"""The numbers of the descriptors in the runner's process, in the order of a request."""
_OUT_OF_THE_WAY: Final = 16
_PID: Final = 4


def main() -> None:
    """Fork a runner for each request of the keeper, until the keeper has gone."""
    end_with_parent(signal.SIGKILL)
    keeper = socket.socket(fileno=CONNECTION)
    gc.collect()
    gc.freeze()  # no page of what is there now is written by a collection in a runner
    keeper.send(READY)
    while files := socket.recv_fds(keeper, len(READY), len(_PLACES))[1]:
        if _is_runner(keeper, files):
            sys.argv = [sys.argv[0], str(CONNECTION)]
            runner.main()
            return


def _is_runner(keeper: socket.socket, files: list[int]) -> bool:
    """Fork; return True in the runner alone, which is a child of the keeper then.

    The process between us and the runner ends at once; the keeper, which adopts orphans, becomes
    the runner's parent, and tells the runner's id apart from those of other orphans by the answer.
    """
    between = os.fork()
    if between == 0:
        between = os.getpid()
        if pid := os.fork():
            keeper.send(pid.to_bytes(_PID, "big"))
            os._exit(0)
        _take_place(keeper, files, between)
        return True
    for file in files:
        os.close(file)
    os.waitpid(between, 0)
    return False


def _take_place(keeper: socket.socket, files: list[int], parent: int) -> None:
    """Get a session of our own, and the descriptors of a runner."""
    os.setsid()
    keeper.close()
    apart = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(apart, _PLACES, strict=True):
        os.dup2(file, number)
        os.close(file)
    while os.getppid() == parent:  # else its end would pass for the keeper's
        time.sleep(0.001)


if __name__ == "__main__":
    main()
