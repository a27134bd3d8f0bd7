"""Listeners that are no brokers: one with TLS, and one without that closes what comes."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBbjCCAROgAwIBAgIUa4QR+9sCh4jdQQM5SXbo2QiQvNEwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAeFw0yNjExMjcyMTM2MzZaFw0zNjExMjQyMTM2MzZaMAwx
CjAIBgNVBAMMAXgwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQbkoLrju1pA2pu
Au3KT6Xctfatx144legckytiRLU4gfmMG3gTjX6U0ThPEYVIc0ZOI2OobUEKfAfy
Dc1FOdn4o1MwUTAdBgNVHQ4EFgQUhrZgjqSEC7CoLUlI6I1TxqcNDxIwHwYDVR0j
BBgwFoAUhrZgjqSEC7CoLUlI6I1TxqcNDxIwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNJADBGAiEAoEOisVU7Wl11IE2wNCiExYUYsRkW2xMyY8/TmsxLiBUC
IQDXg1dpc7tROtMXL5gwTQIMmNdAyTz0diiCsLQQtA55wQ==
-----END CERTIFICATE-----
"""
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFLYNOZLwUnNLeSdi
KqEYQAxjfdoxdMkXgWFK1nSU5EahRANCAAQbkoLrju1pA2puAu3KT6Xctfatx144
legckytiRLU4gfmMG3gTjX6U0ThPEYVIc0ZOI2OobUEKfAfyDc1FOdn4
-----END PRIVATE KEY-----
"""
"""Made for tests, of nobody."""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    context: ssl.SSLContext | None = None


class _Session(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Read what comes first, then close."""
        try:
            connection: socket.socket = self.request
            if self.server.context is not None:
                connection = self.server.context.wrap_socket(connection, server_side=True)
            connection.recv(1024)
            connection.close()
        except OSError:
            pass  # the client has left, or does not speak TLS


@contextmanager
def plain_listener() -> Generator[int]:
    """The port of a listener without TLS."""
    with served(None) as port:
        yield port


@contextmanager
def tls_listener(folder: Path) -> Generator[int]:
    """The port of a listener with TLS; its certificate is kept in the folder."""
    pem = folder / "listener.pem"
    pem.write_text(CERTIFICATE + KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with served(context) as port:
        yield port


@contextmanager
def served(context: ssl.SSLContext | None) -> Generator[int]:
    """The port of a listener with this TLS; None: without."""
    with _Server(("127.0.0.1", 0), _Session) as server:
        server.context = context
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
