"""A stand-in for Alibaba Cloud's message service: its XML API, on loopback.

Checks the signature of each request as the service does (HMAC-SHA1 over method, digest, type, date,
`x-mns-` headers and path), and the limits of messages. Faults are programmed one request at a time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

KEY_ID = "key-id"
SECRET = "key-secret"
_XMLNS = "http://mns.aliyuncs.com/doc/v1"
_BODY = 64 * 1024
_BATCH = 16


@dataclass(frozen=True)
class Fault:
    """What happens to one request that sends messages.

    Attributes:
        status: Status of the answer.
        code: Error of the whole request; empty: none.
        messages: Position -> error of a message; the others are taken.
        delay: Seconds until the answer.
        taken: Whether the messages are kept although the answer is an error or never comes.
        cut: Whether the connection ends without an answer.
    """

    status: int = 500
    code: str = ""
    messages: dict[int, str] = field(default_factory=dict)
    delay: float = 0.0
    taken: bool = False
    cut: bool = False


class Mns:
    """The service's state.

    Attributes:
        queues: Queue -> bodies, oldest first, as they came.
        topics: Topic -> bodies.
        faults: Of the next requests that send, in order.
        requests: Number of messages of each request that sent.
        settings: (DelaySeconds, Priority) of each message.
        refused: Body of a message as it came -> error of the message; None: the message is taken.
        away: Whether every connection ends without an answer, as if the service had been killed;
            messages that came just before are kept.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.queues: dict[str, list[str]] = {"orders": []}
        self.topics: dict[str, list[str]] = {"news": []}
        self.faults: list[Fault] = []
        self.requests: list[int] = []
        self.settings: list[tuple[str | None, str | None]] = []
        self.refused: Callable[[str], str | None] = lambda _body: None
        self.denied = False
        self.away = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def decoded(self, queue: str = "orders") -> list[bytes]:
        """The queue's messages, from base64."""
        return [base64.b64decode(body) for body in self.queues[queue]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets: 40 ms between them else
    server: Any

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(b"")

    do_DELETE = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("content-length", 0))))

    def _serve(self, data: bytes) -> None:
        state: Mns = self.server.state
        if state.away:
            self.close_connection = True
            return
        if (problem := self._unsigned(data)) is not None:
            self._error(403, problem)
            return
        if state.denied:
            self._error(403, "AccessDenied")
            return
        kind, name, *rest = self.path.partition("?")[0].strip("/").split("/")
        target = {"queues": state.queues, "topics": state.topics}[kind].get(name)
        if target is None:
            self._error(404, "QueueNotExist" if kind == "queues" else "TopicNotExist")
        elif not rest:
            self._attributes(kind, name)
        elif self.command == "POST":
            self._take(target, data)
        elif self.command == "DELETE":
            target.pop(0)
            self._answer(204, "")
        else:
            self._receive(target)

    def _unsigned(self, data: bytes) -> str | None:
        """The error of a request that is not signed as the service wants."""
        digest = base64.b64encode(hashlib.md5(data).hexdigest().encode()).decode()  # noqa: S324
        sent = self.headers.get("content-md5", "")
        if data and sent != digest:
            return "InvalidDigest"
        own = sorted(
            (k.lower(), v) for k, v in self.headers.items() if k.lower().startswith("x-mns-")
        )
        lines = [self.command, sent, self.headers.get("content-type", ""), self.headers["date"]]
        text = "\n".join(lines) + "\n" + "".join(f"{k}:{v}\n" for k, v in own) + self.path
        mac = hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()
        scheme, _, credentials = self.headers.get("authorization", "").partition(" ")
        key_id, _, signature = credentials.partition(":")
        if scheme != "MNS" or key_id != KEY_ID:
            return "InvalidAccessKeyId"
        if signature != base64.b64encode(mac).decode():
            return "SignatureDoesNotMatch"
        return None

    def _attributes(self, kind: str, name: str) -> None:
        numbers = [
            *("ActiveMessages", "CreateTime", "DelayMessages", "DelaySeconds", "InactiveMessages"),
            *("LastModifyTime", "MaximumMessageSize", "MessageRetentionPeriod", "MessageCount"),
            *("VisibilityTimeout", "PollingWaitSeconds"),
        ]
        inside = "".join(f"<{number}>1</{number}>" for number in numbers)
        root = "Queue" if kind == "queues" else "Topic"
        inside += f"<{root}Name>{name}</{root}Name><LoggingEnabled>False</LoggingEnabled>"
        self._answer(200, f'<{root} xmlns="{_XMLNS}">{inside}</{root}>')

    def _take(self, target: list[str], data: bytes) -> None:
        state: Mns = self.server.state
        root = ET.fromstring(data)  # noqa: S314 - the test's own
        space = "{*}"
        batch = root.tag.endswith("}Messages")
        found = list(root) if batch else [root]
        bodies = [one.findtext(f"{space}MessageBody") or "" for one in found]
        state.requests.append(len(bodies))
        fault = state.faults.pop(0) if state.faults else Fault()
        time.sleep(fault.delay)
        failed = fault.messages | self._refused(bodies)
        if len(bodies) > _BATCH or sum(len(body.encode()) for body in bodies) > _BODY:
            self._error(400, "MessageTooLarge")
            return
        lost = bool(fault.code or fault.cut) and not fault.taken
        if not lost:
            target += [body for at, body in enumerate(bodies) if at not in failed]
            state.settings += [
                (one.findtext(f"{space}DelaySeconds"), one.findtext(f"{space}Priority"))
                for one in found
            ]
        if fault.cut:
            self.close_connection = True
        elif fault.code:
            self._error(fault.status, fault.code)
        elif not batch and failed:
            self._error(400, failed[0])
        elif not batch:
            self._answer(201, _told(bodies[0], root="Message", xmlns=f' xmlns="{_XMLNS}"'))
        else:
            told = "".join(
                _failed(failed[at]) if at in failed else _told(body)
                for at, body in enumerate(bodies)
            )
            status = 500 if failed else 201
            self._answer(status, f'<Messages xmlns="{_XMLNS}">{told}</Messages>')

    def _refused(self, bodies: list[str]) -> dict[int, str]:
        state: Mns = self.server.state
        codes = ((at, state.refused(body)) for at, body in enumerate(bodies))
        return {at: code for at, code in codes if code is not None}

    def _receive(self, target: list[str]) -> None:
        if not target:
            self._error(404, "MessageNotExist")
            return
        body = escape(target[0])
        numbers = [
            *("DequeueCount", "EnqueueTime", "FirstDequeueTime", "NextVisibleTime", "Priority")
        ]
        inside = "".join(f"<{number}>1</{number}>" for number in numbers)
        inside += f"<MessageBody>{body}</MessageBody><ReceiptHandle>r</ReceiptHandle>"
        inside += "<MessageId>1</MessageId><MessageBodyMD5>0</MessageBodyMD5>"
        self._answer(200, f'<Message xmlns="{_XMLNS}">{inside}</Message>')

    def _error(self, status: int, code: str) -> None:
        inside = f"<Code>{code}</Code><Message>no: {code}</Message>"
        inside += "<RequestId>1</RequestId><HostId>h</HostId>"
        self._answer(status, f'<Error xmlns="{_XMLNS}">{inside}</Error>')

    def _answer(self, status: int, text: str) -> None:
        if self.server.state.away:
            self.close_connection = True
            return
        data = b"" if not text else b'<?xml version="1.0" encoding="utf-8"?>' + text.encode()
        self.send_response(status)
        self.send_header("content-type", "text/xml;charset=utf-8")
        self.send_header("content-length", str(len(data)))
        self.send_header("x-mns-request-id", "1")
        self.end_headers()
        self.wfile.write(data)


def _told(body: str, root: str = "Message", xmlns: str = "") -> str:
    digest = hashlib.md5(body.encode()).hexdigest().upper()  # noqa: S324 - the service's own choice
    inside = f"<MessageId>1</MessageId><MessageBodyMD5>{digest}</MessageBodyMD5>"
    return f"<{root}{xmlns}>{inside}</{root}>"


def _failed(code: str) -> str:
    inside = f"<ErrorCode>{code}</ErrorCode><ErrorMessage>no: {code}</ErrorMessage>"
    return f"<Message>{inside}</Message>"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: object) -> None:
        pass  # a client that left


@contextmanager
def service(port: int = 0) -> Iterator[Mns]:
    """Run the service; a port of 0 is a free one."""
    with _Server(("127.0.0.1", port), _Handler) as server:
        state: Any = Mns(server.server_address[1])
        server.state = state  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
