"""Binds the daemon's HTTP address, before the daemon starts any process."""

from __future__ import annotations

import socket

from kafka_etl.errors import AddressInUse


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 stands for any free port.

    Raises:
        AddressInUse: The address cannot be bound, for any reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise AddressInUse(f"{host}:{port} cannot be served: {reason}") from error
