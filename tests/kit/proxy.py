"""A network between clients and a broker: slow, and with answers and requests that go astray.

The proxy understands where a Kafka request begins, what it asks, and which answer belongs to it. It
changes none of them. A broker that advertises the proxy's port is reached through it alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from kafka_etl.broker import Cluster
from kafka_etl.broker.ports import LOOPBACK, free_ports
from tests.kit.sessions import end_all

INIT_PRODUCER_ID: Final = 22
TXN_OFFSET_COMMIT: Final = 28
END_TXN: Final = 26
ADD_OFFSETS: Final = 25


@dataclass(eq=False)
class Fault:
    """What is to befall one request.

    Attributes:
        api: Of the request, as Kafka numbers them.
        cut: Whether the client's connection is closed at once; otherwise the client waits in vain.
        struck: Set when it has happened.
    """

    api: int
    cut: bool
    struck: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float = 30) -> None:
        """Wait until it has happened."""
        assert self.struck.wait(seconds), f"no request {self.api} has come"


@dataclass(eq=False)
class LostAnswer(Fault):
    """The broker does what is asked, and the client never hears of it."""


@dataclass(eq=False)
class HeldRequest(Fault):
    """The broker gets the request later: when it is released."""

    _frame: bytes = b""
    _session: _Session | None = None
    _answered: threading.Event = field(default_factory=threading.Event)

    def hold(self, frame: bytes, session: _Session) -> None:
        self._frame, self._session = frame, session
        self.struck.set()

    def release(self, seconds: float = 10) -> None:
        """Let the broker have the request, and wait until the broker has answered it."""
        self.wait(seconds)
        session = self._session
        assert session is not None
        session.loop.call_soon_threadsafe(session.deliver_late, self._frame, self._answered)
        assert self._answered.wait(seconds), "the broker did not answer"


class _Session:
    """One connection of a client, and its own to the broker."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self.loop = asyncio.get_running_loop()
        self._proxy = proxy
        self._client = client
        self._holds = False
        self._asked: dict[bytes, Fault | None] = {}
        self._late: dict[bytes, threading.Event] = {}

    async def run(self, client: asyncio.StreamReader) -> None:
        answers, self._broker = await self._proxy.connect()
        both = [
            asyncio.create_task(self._requests(client)),
            asyncio.create_task(self._answers(answers)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if self._holds:
                await both[1]  # what is held belongs to a connection that the broker still has
        finally:
            for task in both:
                task.cancel()
            self._client.close()
            self._broker.close()

    async def _requests(self, client: asyncio.StreamReader) -> None:
        while frame := await _frame(client):
            api, correlation = int.from_bytes(frame[4:6]), frame[8:12]
            self._proxy.counts[api] += 1
            fault = self._proxy.fault_of(api)
            self._asked[correlation] = fault
            if isinstance(fault, HeldRequest):
                self._holds = True
                fault.hold(frame, self)
                if fault.cut:
                    self._client.close()
            else:
                self._send(self._broker, frame)

    async def _answers(self, broker: asyncio.StreamReader) -> None:
        while frame := await _frame(broker):
            correlation = frame[4:8]
            if (late := self._late.pop(correlation, None)) is not None:
                late.set()
                continue
            fault = self._asked.pop(correlation, None)
            if fault is None:
                self._send(self._client, frame)
            else:
                fault.struck.set()
                if fault.cut:
                    self._client.close()

    def deliver_late(self, frame: bytes, answered: threading.Event) -> None:
        self._late[frame[8:12]] = answered
        self._broker.write(frame)

    def _send(self, where: asyncio.StreamWriter, frame: bytes) -> None:
        if self._proxy.delay:
            self.loop.call_later(self._proxy.delay, _write, where, frame)
        else:
            _write(where, frame)


F = TypeVar("F", bound=Fault)


class Proxy:
    """Where clients connect instead of at the broker.

    Attributes:
        port: Of the proxy.
        broker_port: Of the broker behind it.
        delay: Seconds that each request and each answer is under way.
        counts: Requests by what they ask.
    """

    def __init__(self, port: int, broker_port: int) -> None:
        self.port = port
        self.broker_port = broker_port
        self.delay = 0.0
        self.counts: Counter[int] = Counter()
        self._faults: list[Fault] = []
        self._sessions = set[asyncio.Task[None]]()
        self._writers = list[asyncio.StreamWriter]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def hold_request(self, api: int, *, cut: bool) -> HeldRequest:
        """Have the next such request wait; the client can only repeat it."""
        return self._add(HeldRequest(api, cut))

    def lose_answer(self, api: int, *, cut: bool) -> LostAnswer:
        """Have the next such request answered in vain."""
        return self._add(LostAnswer(api, cut))

    def _add(self, fault: F) -> F:
        self._faults.append(fault)
        return fault

    def fault_of(self, api: int) -> Fault | None:
        """The fault that waits for such a request, which is then over."""
        for fault in self._faults:
            if fault.api == api:
                self._faults.remove(fault)
                return fault
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._accept, LOOPBACK, self.port)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the broker."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.broker_port)
        self._writers.append(writer)
        return reader, writer

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        session = self._loop.create_task(self._serve(reader, writer))
        self._sessions.add(session)  # nothing else holds on to one whose client has left
        session.add_done_callback(self._sessions.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.CancelledError):  # a cancelled session would be logged
                await _Session(self, writer).run(reader)
        finally:
            writer.close()

    async def _stop(self) -> None:
        self._server.close()
        await end_all(self._sessions, self._writers)


@contextmanager
def far_cluster(folder: Path) -> Generator[tuple[Cluster, Proxy]]:
    """A cluster of one node, and the proxy through which its other listener is reached.

    The node itself is near: its own traffic, such as the markers of transactions, takes no detour.
    """
    with Cluster.start(folder) as cluster:
        (node,) = cluster.nodes
        node.stop()
        proxy_port, far_port = free_ports(2)
        file = node.folder / "server.properties"
        file.write_text(_with_listener(file.read_text(), far_port, proxy_port))
        node.start()
        with Proxy(proxy_port, far_port) as proxy:
            yield cluster, proxy


def _with_listener(properties: str, port: int, advertised: int) -> str:
    """The settings of a node with one more listener, which clients are told to be elsewhere."""
    more = {
        "listeners": f"FAR://{LOOPBACK}:{port}",
        "advertised.listeners": f"FAR://{LOOPBACK}:{advertised}",
        "listener.security.protocol.map": "FAR:PLAINTEXT",
    }
    lines = [line.partition("=") for line in properties.splitlines()]
    return "".join(
        f"{name}={value},{more[name]}\n" if name in more else f"{name}={value}\n"
        for name, _, value in lines
    )


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """The next request or answer, its length before it; nothing at the end."""
    try:
        length = await reader.readexactly(4)
        return length + await reader.readexactly(int.from_bytes(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _write(where: asyncio.StreamWriter, frame: bytes) -> None:
    if not where.is_closing():
        where.write(frame)
