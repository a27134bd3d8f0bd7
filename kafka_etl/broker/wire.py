"""The part of Kafka's protocol that is needed to ask a broker for the brokers of its cluster.

Only `kafka_etl.kafka` imports the client library, which would also notice a new broker later.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

from kafka_etl.broker.ports import LOOPBACK

_METADATA: Final = (3, 3)
_SASL_HANDSHAKE: Final = (17, 1)
_SASL_AUTHENTICATE: Final = (36, 0)
_LARGEST_ANSWER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class View:
    """A cluster as one of its brokers sees it.

    Attributes:
        cluster_id: Id of the cluster.
        brokers: Ids of the brokers that are registered and not fenced.
    """

    cluster_id: str
    brokers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    password: str


def ask(port: int, login: Login | None, timeout_s: float = 2.0) -> View:
    """Ask the broker at a local port for its view of the cluster.

    Args:
        port: Port of the broker on the loopback address.
        login: User and password; None: the broker needs no login.
        timeout_s: Seconds for the connection, and for each read.

    Raises:
        OSError: No broker answers, the broker refuses the login, or the answer is not Kafka's.
    """
    with socket.create_connection((LOOPBACK, port), timeout_s) as connection:
        if login:
            _log_in(connection, login)
        no_topics = struct.pack(">i", 0)
        return _read_view(_Reader(_call(connection, _METADATA, no_topics)))


def _log_in(connection: socket.socket, login: Login) -> None:
    secret = f"\0{login.user}\0{login.password}".encode()
    for api, body in (
        (_SASL_HANDSHAKE, struct.pack(">h5s", 5, b"PLAIN")),
        (_SASL_AUTHENTICATE, struct.pack(">i", len(secret)) + secret),
    ):
        if error := _Reader(_call(connection, api, body)).int16():
            raise ConnectionRefusedError(f"the broker refused the login: error {error}")


def _call(connection: socket.socket, api: tuple[int, int], body: bytes) -> bytes:
    request = struct.pack(">hhih", *api, 0, -1) + body  # correlation id 0, no client id
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _read(connection, 4))
    if not 0 <= size <= _LARGEST_ANSWER:
        raise ConnectionError("this is not a Kafka broker")
    return _read(connection, size)[4:]  # after the correlation id


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        data += part
    return data


def _read_view(reader: _Reader) -> View:
    reader.int32()  # throttle time
    brokers: set[int] = set()
    for _ in range(reader.int32()):
        brokers.add(reader.int32())
        reader.text()  # host
        reader.int32()  # port
        reader.text()  # rack
    return View(reader.text(), frozenset(brokers))


class _Reader:
    """Reads Kafka's primitive types from an answer, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def int16(self) -> int:
        return int.from_bytes(self._take(2), signed=True)

    def int32(self) -> int:
        return int.from_bytes(self._take(4), signed=True)

    def text(self) -> str:
        return self._take(max(0, self.int16())).decode()  # -1 stands for null

    def _take(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return taken
