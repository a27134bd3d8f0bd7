"""The requests that a broker knows, which the client library does not tell: Kafka's ApiVersions."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from typing import Any, Final

from kafka_etl.kafka.client.listener import WITH_TLS, host_and_port

_API_VERSIONS: Final = 18
_PATIENCE: Final = 2.0
_LARGEST_ANSWER: Final = 1 << 20

Versions = Mapping[int, tuple[int, int]]
"""Number of a request -> its oldest and newest version that a broker knows."""


def ask_versions(settings: Mapping[str, Any]) -> Versions | None:
    """Ask the first broker of `bootstrap.servers` that answers; brokers ask for no login first.

    Args:
        settings: Settings of a client.

    Returns:
        The versions; None: no broker has answered in this form.
    """
    has_tls = str(settings.get("security.protocol", "")).upper() in WITH_TLS
    for address in str(settings.get("bootstrap.servers", "")).split(","):
        try:
            with _connected(*host_and_port(address), has_tls=has_tls) as connection:
                return _read_versions(_call(connection))
        except (OSError, ValueError, OverflowError, struct.error):
            continue
    return None


def _connected(host: str, port: int, *, has_tls: bool) -> socket.socket:
    plain = socket.create_connection((host, port), _PATIENCE)
    if not has_tls:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # no secret is sent, so no trust is needed
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(plain)
    except OSError:
        plain.close()
        raise


def _call(connection: socket.socket) -> bytes:
    request = struct.pack(">hhih", _API_VERSIONS, 0, 0, -1)  # version 0, no client id
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _read(connection, 4))
    if not 0 <= size <= _LARGEST_ANSWER:
        raise ValueError("this is no answer of Kafka")
    return _read(connection, size)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data


def _read_versions(answer: bytes) -> dict[int, tuple[int, int]]:
    _correlation, error, count = struct.unpack_from(">ihi", answer)
    if error:
        raise ValueError(f"the broker answers with error {error}")
    found = struct.iter_unpack(">hhh", answer[10 : 10 + 6 * count])
    return {number: (oldest, newest) for number, oldest, newest in found}
