"""Where the daemon answers that a command is meant for."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from pathlib import Path

from kafka_etl.cli.options import DEFAULT_HTTP, parse_address
from kafka_etl.runtime.daemon.control_socket import address_of, path_in
from kafka_etl.runtime.daemon.state_folder import default_folder

_TIMEOUT = 10


class _ControlConnection(HTTPConnection):
    """HTTP through the socket in a daemon's state folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        with address_of(self._path) as address:
            self.sock.connect(address)


def find(http: str | None, state_dir: Path | None) -> tuple[str, HTTPConnection]:
    """The address in words, and a connection to it that is not open yet.

    The first of: the address that was asked for; the socket in the state folder, if there is one;
    the address daemons serve by default. A folder that was asked for is the last word.
    """
    if http is None:
        path = path_in(state_dir or default_folder())
        if state_dir is not None or _answers(path):
            return str(path), _ControlConnection(path)
    host, port = parse_address(http or DEFAULT_HTTP)
    return http or DEFAULT_HTTP, HTTPConnection(host, port, timeout=_TIMEOUT)


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
