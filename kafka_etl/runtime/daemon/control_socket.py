"""The control socket in a state folder, through which a daemon takes orders besides `--http`.

The socket's file mode lets only the daemon's own user connect; there is no other login.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kafka_etl.log import get_logger

_LONGEST: Final = 107
"""The most bytes of a Unix socket's path on Linux."""


def path_in(folder: Path) -> Path:
    """Return the path of the control socket in a state folder."""
    return folder / "control.sock"


@contextmanager
def address_of(path: Path) -> Generator[str, None, None]:
    """Yield the socket's path, or a path under `/proc` to the same file if the path is too long."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextmanager
def listen_in(folder: Path) -> Generator[socket.socket | None, None, None]:
    """Yield the daemon's listening control socket, and remove the socket at the end.

    Yields None, with a warning in the log, if a daemon of another instance has the socket or the
    file system supports no sockets. Such a daemon takes orders by HTTP only.
    """
    log = get_logger("daemon")
    path = path_in(folder)
    with (folder / "control.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            listener = _bind(path)
        except OSError as error:
            taken = isinstance(error, BlockingIOError)
            reason = "another daemon has it" if taken else str(error)
            log.warning("no control socket: orders by --http only", path=str(path), reason=reason)
            yield None
            return
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
            listener.close()


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # a killed daemon left the file: a living one holds the lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address_of(path) as address:
            listener.bind(address)
        path.chmod(0o600)  # nobody can connect before `listen`
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener
