"""Ports for servers that need the same port again after a restart."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL: Final = range(20000, 30000)


def free_ports(count: int) -> list[int]:
    """At most `count` random free ports, outside the port range of outgoing connections.

    Without such a port, or without a known range, the ports are from 20000 to 29999.
    """
    random = secrets.SystemRandom()  # forked processes would share the state of another generator
    candidates = _outside_ephemeral()
    random.shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do, so that old connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _outside_ephemeral() -> list[int]:
    try:
        first, last = map(int, _RANGE_FILE.read_text(encoding="ascii").split())
    except OSError:
        return list(_USUAL)
    return [port for port in range(10000, 65536) if not first <= port <= last] or list(_USUAL)
