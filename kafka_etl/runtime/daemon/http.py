"""The daemon over HTTP: liveness, readiness, metrics, and orders to its pipelines."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from html import escape
from pathlib import Path
from typing import Any, Final, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kafka_etl.dead_letters import Cause
from kafka_etl.errors import (
    ClerkBusy,
    KafkaEtlError,
    OrderRefused,
    RequestRefused,
    UnknownPipeline,
)
from kafka_etl.runtime.daemon.clerks import Clerks
from kafka_etl.runtime.daemon.daemon import Orders, View
from kafka_etl.runtime.daemon.exporter import render
from kafka_etl.runtime.daemon.order import Order, Verb
from kafka_etl.runtime.daemon.pipelines import PipelineStatus
from kafka_etl.runtime.daemon.tasks_http import (
    LARGEST,
    PREFIX,
    asked_of,
    pipelines_of,
    target_of,
)
from kafka_etl.runtime.tasks.requests import Answered

_ALIVE_WITHIN: Final = 30.0
_PATIENCE: Final = 2.0
"""Seconds that a request waits for an order's outcome before the answer is 202, with progress."""
_LOOPBACK: Final = (
    "On the daemon's machine, or in its container, `kafka-etl` reaches it by the socket in its "
    "state folder: `kafka-etl resume NAME`, with the `--state-dir` of the daemon."
)
_LOOPBACK_TASKS: Final = (
    "`kafka-etl tasks` needs no daemon: it works from any machine that reaches Kafka, with the "
    "rights of its user."
)
_STATUSES: Final[Mapping[type[KafkaEtlError], int]] = {
    UnknownPipeline: 404,
    RequestRefused: 400,
    ClerkBusy: 503,
}
_LED_HERE: Final = "the request comes by a name that is not this machine's own"
_NOT_SHOWN: Final = "its text is shown on the daemon's machine: `kafka-etl status`"
_NO_PAGE: Final = "Give it on this machine with `kafka-etl`, by an address of this machine's own."
_PAGES: Final = ("/pipelines", "/metrics", "/ready", "/live")
_HOST: Final = re.compile(r"(?:\[(.+)\]|([^:]+))(?::\d+)?")


class HttpServer:
    """Serves the application on one socket, in a thread of its own.

    Orders are taken only from this machine, because there is no login.
    """

    def __init__(self, listener: socket.socket, orders: Orders) -> None:
        self._socket = listener
        self._clerks = Clerks()
        app = make_app(orders, reach=_reach_of(listener), clerks=self._clerks)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._clerks.close()
        self._thread.join(timeout=2)
        self._socket.close()


class Reach(StrEnum):
    """The set of clients that can connect to a socket."""

    OWNER = "the user of the daemon"
    MACHINE = "whoever is on this machine, pages in a browser included"
    NETWORK = "anyone"


def make_app(orders: Orders, *, reach: Reach, clerks: Clerks | None = None) -> Starlette:
    """Make the web application; the caller binds the application to a socket.

    Args:
        orders: The daemon.
        reach: The clients that can connect: decides on orders and on error texts.
        clerks: Answer requests about tasks; None: new ones.
    """
    handlers = _Handlers(orders, reach, clerks or Clerks())
    return Starlette(
        routes=[
            Route("/", handlers.page),
            Route("/live", handlers.live),
            Route("/ready", handlers.ready),
            Route("/metrics", handlers.metrics),
            Route("/pipelines", handlers.pipelines),
            Route("/orders/{order_id}", handlers.outcome),
            Route("/pipelines/{name}/{verb}", handlers.order, methods=["POST"]),
            Route(PREFIX, handlers.tasks, methods=["GET", "POST"]),
            Route(PREFIX + "/{rest:path}", handlers.tasks, methods=["GET", "POST"]),
        ]
    )


class _Handlers:
    """The answers to requests, one method per route."""

    def __init__(self, orders: Orders, reach: Reach, clerks: Clerks) -> None:
        self._orders = orders
        self._reach = reach
        self._clerks = clerks

    def live(self, _request: Request) -> Response:
        """Answer 200 while the main loop turns, else 503.

        Unreachable brokers do not matter here: a restart of the daemon would not help.
        """
        age = time.monotonic() - self._orders.ticked_at()
        return _answer({"main_loop_s_ago": round(age, 1)}, 200 if age < _ALIVE_WITHIN else 503)

    def ready(self, _request: Request) -> Response:
        """Answer 200 if the workers of every pipeline are members of their group, else 503."""
        statuses = self._orders.view().pipelines.values()
        waiting = [status.name for status in statuses if not status.joined]
        return _answer({"waiting_for": waiting}, 503 if waiting else 200)

    def metrics(self, _request: Request) -> Response:
        return Response(render(self._orders.view), media_type="text/plain; version=0.0.4")

    def page(self, request: Request) -> Response:
        """Answer with an HTML page for a person with a browser."""
        if self._is_led_here(request):
            return _refused(403, _LED_HERE, _NO_PAGE)
        return Response(overview(self._orders.view()), media_type="text/html; charset=utf-8")

    def pipelines(self, request: Request) -> Response:
        if self._is_led_here(request):
            return _refused(403, _LED_HERE, _NO_PAGE)
        view = self._orders.view()
        shown = [describe(view, status) for status in view.pipelines.values()]
        if self._reach is Reach.NETWORK:
            shown = [_without_texts(pipeline) for pipeline in shown]
        return _answer({"instance": view.instance, "pipelines": shown})

    def order(self, request: Request) -> Response:
        if self._reach is Reach.NETWORK:
            return _refused(403, "orders are taken on a loopback address only", _LOOPBACK)
        if self._reach is Reach.MACHINE and not _from_here(request):
            return _refused(403, "the order comes from a page of another site", _NO_PAGE)
        name, verb = request.path_params["name"], request.path_params["verb"]
        if verb not in set(Verb):
            return _refused(404, f"there is no order `{verb}`; there are {', '.join(Verb)}")
        try:
            return _outcome(self._orders.order(name, Verb(verb)))
        except UnknownPipeline as error:
            return _problem(404, error)
        except KafkaEtlError as error:
            return _problem(409, error)

    def outcome(self, request: Request) -> Response:
        try:
            return _outcome(self._orders.find_order(request.path_params["order_id"]))
        except OrderRefused as error:
            return _problem(404, error)

    async def tasks(self, request: Request) -> Response:
        """Answer a request about tasks; a clerk does the work, and a thread waits for the clerk."""
        refused = self._not_about_tasks(request)
        if refused is not None:
            return refused
        view, target = self._orders.view(), target_of(request)
        try:
            if not target.pipeline:
                return _answer(pipelines_of(view))
            asked = asked_of(request, target, view, await _body(request))
            answered = await run_in_threadpool(self._clerks.ask, asked)
        except KafkaEtlError as error:
            return _problem(_STATUSES.get(type(error), 500), error)
        return _of_a_clerk(answered)

    def _not_about_tasks(self, request: Request) -> Response | None:
        """The refusal of a client who may not ask about tasks; None: the client may."""
        if self._reach is Reach.NETWORK:
            return _refused(403, "tasks are shown on a loopback address only", _LOOPBACK_TASKS)
        if self._is_led_here(request):
            return _refused(403, _LED_HERE, _NO_PAGE)
        is_order = request.method != "GET"
        if is_order and self._reach is Reach.MACHINE and not _from_here(request):
            return _refused(403, "the order comes from a page of another site", _NO_PAGE)
        return None

    def _is_led_here(self, request: Request) -> bool:
        """Whether the `Host` header has a foreign name on a socket for this machine.

        A foreign name that resolves to this machine lets a web page under the same name read the
        answer (DNS rebinding).
        """
        return self._reach is Reach.MACHINE and not _is_named_loopback(request)


def describe(view: View, status: PipelineStatus) -> dict[str, Any]:
    """Describe a pipeline as JSON-ready data, the input of `kafka-etl status`."""
    rates = view.rates[status.name]
    problem = status.problem
    phases = {
        label: value for (name, label), value in status.counters.items() if name == "phase_seconds"
    }
    letters = {
        label: value for (name, label), value in status.counters.items() if name == "dead_letters"
    }
    behind = status.lag_seconds(view.at)
    return {
        "name": status.name,
        "state": status.state,
        "to_be_paused": status.to_be_paused,
        "guarantee": None if status.label is None else status.label.guarantee,
        "label": None if status.label is None else str(status.label),
        "workers": status.workers,
        "partitions": status.standing.partitions,
        "lag": {
            "records": status.lag_records,
            "seconds": None if behind is None else round(behind, 3),
        },
        "rates": {
            "records_in": round(rates.records_in, 1),
            "records_out": round(rates.records_out, 1),
        },
        "counts": {
            metric: int(status.count(metric))
            for metric in (
                "records_in",
                "records_out",
                "records_dropped",
                "dead_letters",
                "commits",
                "aborts",
                "rebalances",
                "worker_deaths",
            )
        },
        "dead_letters": {condition: int(count) for condition, count in letters.items()},
        "causes": [_cause(cause) for cause in status.causes],
        "file": str(Path(status.file).absolute()) if status.file else "",
        "letters": status.letters,
        "seconds": {phase: round(value, 3) for phase, value in phases.items()},
        "tasks": {
            state: int(count) for (name, state), count in status.gauges.items() if name == "tasks"
        },
        "oldest_enqueued_seconds": status.gauges.get(("task_oldest_enqueued_seconds", "")),
        "trouble": status.trouble,
        "error": None if problem is None else asdict(problem),
    }


def _outcome(order: Order) -> Response:
    """Wait a while for an order's outcome: 200: carried out; 409: failed; 202: still under way."""
    told = order.wait(_PATIENCE)
    if told and order.problem is not None:
        return _answer({"error": asdict(order.problem)}, 409)
    data = {
        "pipeline": order.pipeline,
        "order": order.verb,
        "id": order.id,
        "settled": told,
        "progress": order.progress,
        "notes": order.notes,
    }
    return _answer(data, 200 if told else 202)


def _without_texts(pipeline: dict[str, Any]) -> dict[str, Any]:
    """Hide the texts of errors, which may quote records, from clients on the network."""
    error, trouble = pipeline["error"], pipeline["trouble"]
    return pipeline | {
        "trouble": trouble and _NOT_SHOWN,
        "error": error and {"code": error["code"], "what": _NOT_SHOWN, "next_step": ""},
        "causes": [cause | {"error": _NOT_SHOWN} for cause in pipeline["causes"]],
    }


def overview(view: View) -> str:
    """Render the HTML page: the pipelines with their states, and links to the other routes."""
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{escape(status.state)}"
        for name, status in view.pipelines.items()
    )
    links = " ".join(f'<a href="{path}">{path}</a>' for path in _PAGES)
    return (
        f"<!doctype html><title>kafka-etl</title><h1>kafka-etl {escape(view.instance)}</h1>"
        f"<table><tr><th>Pipeline<th>State{rows}</table><p>{links}"
        "<p><code>kafka-etl status</code> says more, <code>kafka-etl --help</code> what else.\n"
    )


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "fingerprint": cause.fingerprint,
        "count": cause.count,
        "condition": cause.condition,
        "operator": cause.operator,
        "error": cause.error,
        "example": cause.example.id,
    }


def _answer(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data), status, media_type="application/json")


def _of_a_clerk(answered: Answered) -> Response:
    after = answered.retry_after
    headers = {} if after is None else {"Retry-After": str(after)}
    return Response(answered.body, answered.status, headers, media_type="application/json")


def _problem(status: int, error: KafkaEtlError) -> Response:
    return _answer({"error": asdict(error.problem)}, status)


def _refused(status: int, what: str, next_step: str = "") -> Response:
    return _problem(status, OrderRefused(what, next_step))


async def _body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        RequestRefused: It is too large.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise RequestRefused(f"the body has more than {LARGEST:,} bytes")
    return bytes(body)


def _from_here(request: Request) -> bool:
    """Whether the request comes neither from a page of another site nor under a foreign name."""
    host = request.headers.get("host", "")
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin", f"http://{host}")
    return (
        _is_named_loopback(request)
        and site in {"none", "same-origin"}
        and origin.partition("://")[2] == host
    )


def _is_named_loopback(request: Request) -> bool:
    named = _HOST.fullmatch(request.headers.get("host", ""))
    return named is not None and _is_loopback(named[1] or named[2])


def _reach_of(listener: socket.socket) -> Reach:
    if listener.family == socket.AF_UNIX:
        return Reach.OWNER
    return Reach.MACHINE if _is_loopback(str(listener.getsockname()[0])) else Reach.NETWORK


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
