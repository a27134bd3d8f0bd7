"""A plain TCP proxy that cuts: after so many bytes, or half-open, or by refusing."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

LOOPBACK = "127.0.0.1"


class Cut:
    """A proxy in front of a server.

    Attributes:
        port: Its own port.
        to_server: Bytes towards the server, so far, of the newest connection.
        to_client: Likewise towards the client.
        cut_to_server: After so many bytes towards the server both ends are closed; None: never.
        cut_to_client: Likewise towards the client.
        silent: Whether nothing is passed on any more: a half-open connection.
        refuse: Whether new connections are closed at once.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        self.cut_to_server: int | None = None
        self.cut_to_client: int | None = None
        self.silent = False
        self.refuse = False
        self.to_server = self.to_client = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Close all connections."""
        for end in self._open:
            _close(end)
        self._open = []

    def free(self) -> None:
        """Pass everything on again."""
        self.cut_to_server = self.cut_to_client = None
        self.silent = self.refuse = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            server = socket.create_connection((LOOPBACK, self._server_port))
            self._open += [client, server]
            self.to_server = self.to_client = 0
            for ends, way in (((client, server), "to_server"), ((server, client), "to_client")):
                threading.Thread(target=self._pass, args=(*ends, way), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.silent:
                    continue
                limit = getattr(self, f"cut_{way}")
                done = getattr(self, way)
                if limit is not None and done + len(data) >= limit:
                    target.sendall(data[: limit - done])
                    break
                setattr(self, way, done + len(data))
                target.sendall(data)
        _close(source)
        _close(target)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
