"""A schema registry for tests: a stand-in in this process, and what tests do with any of them."""

from __future__ import annotations

import json
import threading
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


def register(
    url: str, subject: str, schema: Any, kind: str = "AVRO", references: Sequence[Any] = ()
) -> int:
    """As producers do; the schema as text, or as what is written as JSON."""
    text = schema if isinstance(schema, str) else json.dumps(schema)
    body = {"schema": text, "schemaType": kind, "references": list(references)}
    request = urllib.request.Request(
        f"{url}/subjects/{subject}/versions",
        json.dumps(body).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(json.load(answer)["id"])


def compatibility(url: str, subject: str, level: str) -> None:
    request = urllib.request.Request(
        f"{url}/config/{subject}",
        json.dumps({"compatibility": level}).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


@dataclass
class StandIn:
    """What a registry holds, and how it behaves.

    Attributes:
        status: When set, the answer to everything.
        guids: Whether it gives schemas one, as newer registries do.
        asked: The paths of all requests.
        authorizations: What each of them said of who asks.
    """

    url: str = ""
    status: int | None = None
    guids: bool = True
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    schemas: list[dict[str, Any]] = field(default_factory=list)
    subjects: dict[str, list[int]] = field(default_factory=dict)

    def register(self, subject: str, body: dict[str, Any]) -> int:
        schema = {key: body.get(key) for key in ("schema", "schemaType", "references")}
        if schema not in self.schemas:
            self.schemas.append(schema)
        schema_id = self.schemas.index(schema) + 1
        versions = self.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    def guid(self, schema_id: int) -> str:
        return str(uuid.UUID(int=schema_id))

    def answer(self, method: str, path: list[str], body: Any) -> tuple[int, Any]:
        if self.status is not None:
            return self.status, {"error_code": self.status, "message": "as the test wants it"}
        try:
            return 200, self._answer(method, path, body)
        except (LookupError, ValueError):
            return 404, {"error_code": 40403, "message": "there is no such thing"}

    def _answer(self, method: str, path: list[str], body: Any) -> Any:
        match method, path:
            case "POST", ["subjects", subject, "versions"]:
                return {"id": self.register(subject, body)}
            case "POST", ["subjects", subject]:
                wanted = {key: body.get(key) for key in ("schema", "schemaType", "references")}
                schema_id = self.schemas.index(wanted) + 1
                return self._version(subject, self.subjects[subject].index(schema_id))
            case "GET", ["schemas", "ids", number] if int(number) > 0:
                return {**self.schemas[int(number) - 1], "guid": self.guid(int(number))}
            case "GET", ["schemas", "guids", guid]:
                return self.schemas[uuid.UUID(guid).int - 1]
            case "GET", ["subjects", subject, "versions", version]:
                return self._version(subject, -1 if version == "latest" else int(version) - 1)
            case _:
                raise LookupError(path)

    def _version(self, subject: str, index: int) -> Any:
        versions = self.subjects[subject]
        schema_id = versions[index]
        number = versions.index(schema_id) + 1
        return {
            "subject": subject,
            "version": number,
            "id": schema_id,
            **({"guid": self.guid(schema_id)} if self.guids else {}),
            **self.schemas[schema_id - 1],
        }


@contextmanager
def stand_in(port: int = 0) -> Iterator[StandIn]:
    """A registry on a loopback port of its own."""
    held = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._do("GET")

        def do_POST(self) -> None:
            self._do("POST")

        def _do(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path = urlsplit(self.path).path
            held.asked.append(path)
            held.authorizations.append(self.headers.get("Authorization"))
            status, said = held.answer(method, [unquote(p) for p in path.split("/")[1:]], body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
