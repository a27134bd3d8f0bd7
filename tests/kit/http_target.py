"""An HTTP server for tests of the sink `http`: does to each request what the test says."""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from kafka_etl.broker.ports import free_ports
from tests.kit.sessions import end_all


@dataclass(frozen=True)
class Request:
    """What came.

    Attributes:
        number: Requests that came before this one.
        seen: Requests with the same body that came before this one.
        headers: Headers, named in lower case.
    """

    number: int
    seen: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What is done with a request.

    Attributes:
        status: Status of the answer.
        delay: Seconds before the answer.
        body: Body of the answer.
        headers: Headers of the answer.
        cut: Closes in the middle of the body.
        hang_up: Closes without an answer.
        drip: Seconds between the bytes of the answer.
    """

    status: int = 200
    delay: float = 0.0
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    hang_up: bool = False
    drip: float = 0.0


OK = Reply()
HANGS = Reply(delay=3600)
Behaviour = Callable[[Request], Reply]


class Target:
    """The server.

    Attributes:
        behaviour: Request -> what is done with it; may be replaced at any time.
        requests: Every request, in the order of arrival.
        taken: Those that were answered with 2xx, in the order of their answers.
        most: Most requests that were being answered at once.
        connections: Connections that were made.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self.port = port
        self.behaviour: Behaviour = lambda _request: OK
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self.most = 0
        self.connections = 0
        self._now = 0
        self._seen: dict[bytes, int] = {}
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.taken]

    def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._listen(ready)), name="http-target", daemon=True
        )
        self._thread.start()
        assert ready.wait(10), "the server does not listen"

    async def _listen(self, ready: threading.Event) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls)
        ready.set()
        await self._over.wait()
        server.close()
        await end_all(self._tasks, self._writers)
        self._writers.clear()

    def stop(self) -> None:
        """Cut all connections, and refuse further ones."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()
            self._thread = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(
                ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError
            ):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False: the connection is over."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (h.partition(":") for h in head[1:] if h)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        seen = self._seen.get(body, 0)
        self._seen[body] = seen + 1
        request = Request(len(self.requests), seen, method, path, headers, body)
        self.requests.append(request)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._reply(request, writer)
        finally:
            self._now -= 1

    async def _reply(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        reply = self.behaviour(request)
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.hang_up:
            return False
        if 200 <= reply.status < 300 and not reply.cut:
            self.taken.append(request)
        lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if reply.drip:
            for byte in head:
                writer.write(bytes([byte]))
                await asyncio.sleep(reply.drip)
        elif reply.cut:
            writer.write(head + reply.body[: len(reply.body) // 2])
            await writer.drain()
            await asyncio.sleep(0.02)  # let it arrive before the reset
            return False
        else:
            writer.write(head + reply.body)
        await writer.drain()
        return True


@contextmanager
def target(tls: ssl.SSLContext | None = None) -> Iterator[Target]:
    """A server that listens on a port of its own."""
    (port,) = free_ports(1)
    made = Target(port, tls)
    made.start()
    try:
        yield made
    finally:
        made.stop()


if __name__ == "__main__":  # a server in a process of its own, to measure against
    alone = Target(int(sys.argv[1]), None)
    alone.requests = []
    alone.start()
    sys.stdin.read()
