"""One exchange with the server: a request, its answer, and what the answer means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast
from urllib.parse import quote_plus, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from kafka_etl.contracts import Again, Refused, Taken, Unreachable
from kafka_etl_connectors.http.credentials import Credentials, tls_context
from kafka_etl_connectors.http.requests import Outgoing
from kafka_etl_connectors.http.settings import HttpSettings
from kafka_etl_connectors.http.verdict import Answer, Policy, Verdict, of_answer, of_error

_CONNECT: Final = 10.0
"""Most seconds for a connection, so that a server that is away is not taken for a slow one."""

_IDLE: Final = 4.0
"""Seconds that an idle connection is kept: less than the 5 seconds after which many servers close
one, perhaps just when the next request is on its way."""

_MOST_BODY: Final = 64 * 1024
"""Bytes of an answer that are read; with a longer answer the connection is given up."""

_USUAL_PORTS: Final = {"http": 80, "https": 443}
_KNOCK: Final = 5.0
_ALERT: Final = 0.3
"""Seconds for a server to say that it refuses the client's certificate."""

_UNAUTHORIZED: Final = 401
_SHORTEST_SECRET: Final = 4
"""Hiding shorter texts would garble what a server says."""


class Exchange:
    """Connections to the server; used within one event loop.

    The client's transport is used by itself: no redirect is followed, no cookie kept, no address
    logged.

    Args:
        settings: The sink's settings.
        folder: Folder of the pipeline file.
        connections: Most connections at once.
    """

    def __init__(self, settings: HttpSettings, folder: Path, connections: int) -> None:
        self._settings = settings
        self._folder = folder
        self._connections = connections
        self._policy = Policy(settings.success, settings.refuse)
        self._credentials = Credentials(settings.auth, folder)
        self._transport: httpx2.AsyncHTTPTransport | None = None
        self._tls: ssl.SSLContext | None = None
        connect = min(_CONNECT, settings.timeout / 2)
        # `timeout` is of the request as a whole, and the loop's; a pause of the server is none.
        limits = {"connect": connect, "read": None, "write": None, "pool": None}
        self._extensions = {"timeout": limits}

    def open(self) -> None:
        """Read certificates and token; connects to nothing.

        Raises:
            Unreachable: A file cannot be read.
        """
        self._credentials.load()
        context, proxy = (
            tls_context(self._settings.tls, self._folder),
            proxy_for(self._settings.url),
        )
        self._tls = context if proxy is None and self._settings.url.startswith("https") else None
        self._transport = httpx2.AsyncHTTPTransport(
            verify=context,
            proxy=proxy,
            limits=httpx2.Limits(
                max_connections=self._connections,
                max_keepalive_connections=self._connections,
                keepalive_expiry=_IDLE,
            ),
        )

    async def close(self) -> None:
        """Close all connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def send(self, outgoing: Outgoing) -> Taken | Refused | Again:
        """Send a request, and return what its answer means.

        Raises:
            Unreachable: The server is away, or refuses everybody.
        """
        verdict = await self.ask(outgoing)
        if isinstance(verdict, Unreachable):
            raise verdict
        if isinstance(verdict, Refused):
            return Refused(verdict.code, self._hide(verdict.message), verdict.too_large)
        return verdict

    async def ask(self, outgoing: Outgoing) -> Verdict:
        """As `send`, with `Unreachable` as a value."""
        login = self._credentials.header()
        try:
            answer = await self._answer(outgoing, login)
            if answer.status == _UNAUTHORIZED and self._credentials.renewed(login):
                answer = await self._answer(outgoing, self._credentials.header())
        except (httpx2.TransportError, OSError) as error:
            # Of OSError: `TimeoutError`, and `SSLError`, which the client passes on while it reads.
            return await self._second_look(error)
        deletes = outgoing.method == "DELETE"
        return of_answer(answer, self._policy, datetime.now(UTC), deletes=deletes)

    async def _second_look(self, error: Exception) -> Verdict:
        """Return what an error means, once TLS is ruled out.

        In TLS 1.3 a server refuses the client's certificate after the client has begun to send;
        the client then sees a broken connection, and the record would be blamed for that.
        """
        broken = (httpx2.NetworkError, httpx2.RemoteProtocolError)
        if self._tls is not None and isinstance(error, broken):
            try:
                await knock(self._settings.url, self._tls)
            except OSError as second:  # `TimeoutError` is one
                told = of_error(second)
                return told if isinstance(told, Unreachable) else of_error(error)
        return of_error(error)

    async def _answer(self, outgoing: Outgoing, login: bytes | None) -> Answer:
        assert self._transport is not None, "asked before it was opened"  # noqa: S101
        headers = outgoing.headers
        if login is not None:
            headers = [*headers, (b"Authorization", login)]
        request = httpx2.Request(
            outgoing.method,
            outgoing.url,
            headers=headers,
            content=outgoing.body,
            extensions=self._extensions,
        )
        async with asyncio.timeout(self._settings.timeout):
            response = await self._transport.handle_async_request(request)
            try:
                body = await _beginning(cast("AsyncIterable[bytes]", response.stream))
            finally:
                await response.aclose()
        return Answer(response.status_code, response.headers.get("retry-after"), body)

    def _hide(self, text: str) -> str:
        """The text without what no dead letter may show, should the server have quoted any."""
        fields = (*self._settings.headers.values(), *self._settings.query.values())
        secrets = [*self._credentials.secrets(), *(f.get_secret_value() for f in fields)]
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                # In an address, which servers like to quote, it is encoded.
                for form in (secret, quote_plus(secret)):
                    text = text.replace(form, "***")
        return text


async def _beginning(stream: AsyncIterable[bytes]) -> bytes:
    """The body; of a long one the beginning.

    A body must be read to its end for the connection to be used again.
    """
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > _MOST_BODY:
            break
    return bytes(body)


async def knock(url: str, context: ssl.SSLContext) -> None:
    """Connect to a server, and send nothing.

    Raises:
        OSError: There is no connection, or TLS fails.
        TimeoutError: The server does not answer.
    """
    parts = urlsplit(url)
    tls = context if parts.scheme == "https" else None
    port = parts.port or _USUAL_PORTS[parts.scheme]
    async with asyncio.timeout(_KNOCK):
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    try:
        if tls is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ALERT):
                    await reader.read(1)
    finally:
        writer.transport.abort()
        with suppress(OSError):  # told above, if it matters
            await writer.wait_closed()


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address: `HTTPS_PROXY`, `NO_PROXY` and so on."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return None if proxy is None or proxy_bypass(parts.netloc) else proxy
