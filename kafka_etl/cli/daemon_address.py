"""The daemon a command is meant for: where the daemon answers, and a connection to that place."""

from __future__ import annotations

import socket
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from kafka_etl.cli.options import DEFAULT_HTTP, parse_address
from kafka_etl.errors import DaemonUnreachable
from kafka_etl.runtime.daemon.control_socket import address_of, path_in
from kafka_etl.runtime.daemon.state_folder import default_folder

_STARTS_WITHIN: Final = 2.0
"""Seconds from the start of a daemon's program until its address is taken."""
_ANSWERS_WITHIN: Final = 30.0
"""Seconds until a daemon that starts on a busy machine answers."""


class _ControlConnection(HTTPConnection):
    """HTTP through the socket in a daemon's state folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWERS_WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWERS_WITHIN)
        with address_of(self._path) as address:
            self.sock.connect(address)


def connect(http: str | None, state_dir: Path | None) -> tuple[str, HTTPConnection]:
    """Connect to the daemon; a daemon that was started a moment ago is waited for.

    A daemon takes its address before anything else, and answers once the daemon has started.

    Returns:
        The address in words, and the open connection.

    Raises:
        DaemonUnreachable: Nobody takes the connection.
    """
    deadline = time.monotonic() + _STARTS_WITHIN
    while True:
        address, connection = candidate(http, state_dir)
        try:
            connection.connect()
            return address, connection
        except OSError as error:
            connection.close()
            starting = isinstance(error, ConnectionRefusedError | FileNotFoundError)
            if not starting or time.monotonic() > deadline:
                raise DaemonUnreachable(f"no daemon answers at {address}: {error}") from error
            time.sleep(0.05)


def candidate(http: str | None, state_dir: Path | None) -> tuple[str, HTTPConnection]:
    """The address in words, and a connection to the address that is not open yet.

    The first of: the address that was asked for; the socket in the state folder, if a daemon
    listens there; the address daemons serve by default. A folder that was asked for is the last
    word: else another daemon might be given the order.
    """
    if http is None:
        path = path_in(state_dir or default_folder())
        if state_dir is not None or _answers(path):
            return str(path), _ControlConnection(path)
    host, port = parse_address(http or DEFAULT_HTTP)
    return http or DEFAULT_HTTP, HTTPConnection(host, port, timeout=_ANSWERS_WITHIN)


def _answers(path: Path) -> bool:
    """Whether somebody listens: a daemon that was killed leaves its socket behind."""
    connection = _ControlConnection(path)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True
