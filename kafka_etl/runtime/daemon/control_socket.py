"""The socket in a state folder through which a daemon takes orders, whatever HTTP address it has.

Only its own user may connect: that is all the login there is.
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
"""Bytes of a socket's path, as the system has it."""


def path_in(folder: Path) -> Path:
    """Where the socket of a state folder is."""
    return folder / "control.sock"


@contextmanager
def address_of(path: Path) -> Generator[str, None, None]:
    """The path, or one that leads there and is short enough for a socket."""
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
    """The socket of the daemon in this folder.

    None, and a line in the log, where there can be none: another daemon of another instance has it,
    or the file system has no sockets. Such a daemon takes its orders by HTTP.
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
    path.unlink(missing_ok=True)  # of a daemon that was killed: a living one holds the lock
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
