"""Finds the address of the daemon that a command is meant for, and connects to the daemon."""

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
"""The longest time, in seconds, from the start of a daemon until it listens on its address."""
_ANSWERS_WITHIN: Final = 30.0
"""The longest time, in seconds, until a daemon that starts on a busy machine answers."""


class _ControlConnection(HTTPConnection):
    """An HTTP connection through the control socket in a daemon's state folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWERS_WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWERS_WITHIN)
        with address_of(self._path) as address:
            self.sock.connect(address)


def connect(http: str | None, state_dir: Path | None) -> tuple[str, HTTPConnection]:
    """Connect to the daemon; wait a moment for a daemon that is about to listen.

    A daemon listens on its address early in its start, and answers once its start is complete.

    Returns:
        The address in words, and the open connection.

    Raises:
        DaemonUnreachable: No process accepts a connection at the address.
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
    """Return the daemon's address in words, and a connection that is not open yet.

    The address is the first of: `http`; the control socket in the state folder, if a daemon listens
    on the socket; the default HTTP address. If `state_dir` is given, only its socket is tried: at
    the default address another daemon might take the order.
    """
    if http is None:
        path = path_in(state_dir or default_folder())
        if state_dir is not None or _answers(path):
            return str(path), _ControlConnection(path)
    host, port = parse_address(http or DEFAULT_HTTP)
    return http or DEFAULT_HTTP, HTTPConnection(host, port, timeout=_ANSWERS_WITHIN)


def _answers(path: Path) -> bool:
    """Whether a daemon listens on the socket: a killed daemon leaves the socket's file behind."""
    connection = _ControlConnection(path)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True
