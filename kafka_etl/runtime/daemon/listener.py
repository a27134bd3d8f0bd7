"""The daemon's address, taken before anything is started that would have to be stopped again."""

from __future__ import annotations

import socket

from kafka_etl.errors import AddressInUse


def listen(host: str, port: int) -> socket.socket:
    """Take the address; port 0 is any free one.

    Raises:
        AddressInUse: It cannot be had, for whatever reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise AddressInUse(f"{host}:{port} cannot be served: {reason}") from error
