"""The daemon over HTTP: liveness, readiness, metrics, and orders to its pipelines."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kafka_etl.dead_letters import Cause
from kafka_etl.errors import KafkaEtlError, OrderRefused, UnknownPipeline
from kafka_etl.runtime.daemon.daemon import Orders, Verb, View
from kafka_etl.runtime.daemon.exporter import render
from kafka_etl.runtime.daemon.pipelines import PipelineStatus

_ALIVE_WITHIN: Final = 30.0
_LOOPBACK: Final = "Have the daemon serve on one: `--http 127.0.0.1:PORT`."
_NO_PAGE: Final = "Give it on this machine with `kafka-etl`, by an address of this machine's own."
_HOST: Final = re.compile(r"(?:\[(.+)\]|([^:]+))(?::\d+)?")


class HttpServer:
    """Serves in a thread. Orders are taken on loopback only: there is no login."""

    def __init__(self, listener: socket.socket, orders: Orders) -> None:
        self._socket = listener
        host = str(listener.getsockname()[0])
        app = make_app(orders, takes_orders=_is_loopback(host))
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
        self._thread.join(timeout=2)
        self._socket.close()


def make_app(orders: Orders, *, takes_orders: bool) -> Starlette:
    """The application, apart from any socket."""
    handlers = _Handlers(orders, takes_orders=takes_orders)
    return Starlette(
        routes=[
            Route("/live", handlers.live),
            Route("/ready", handlers.ready),
            Route("/metrics", handlers.metrics),
            Route("/pipelines", handlers.pipelines),
            Route("/pipelines/{name}/{verb}", handlers.order, methods=["POST"]),
        ]
    )


class _Handlers:
    """One method per route."""

    def __init__(self, orders: Orders, *, takes_orders: bool) -> None:
        self._orders = orders
        self._takes_orders = takes_orders

    def live(self, _request: Request) -> Response:
        """The main loop goes round. A broker that is away is no reason to restart the daemon."""
        age = time.monotonic() - self._orders.ticked_at()
        return _answer({"main_loop_s_ago": round(age, 1)}, 200 if age < _ALIVE_WITHIN else 503)

    def ready(self, _request: Request) -> Response:
        """Every pipeline's workers are members of their group."""
        statuses = self._orders.view().pipelines.values()
        waiting = [status.name for status in statuses if not status.joined]
        return _answer({"waiting_for": waiting}, 503 if waiting else 200)

    def metrics(self, _request: Request) -> Response:
        return Response(render(self._orders.view), media_type="text/plain; version=0.0.4")

    def pipelines(self, _request: Request) -> Response:
        view = self._orders.view()
        shown = [describe(view, status) for status in view.pipelines.values()]
        return _answer({"instance": view.instance, "pipelines": shown})

    def order(self, request: Request) -> Response:
        if not self._takes_orders:
            return _refused(403, "orders are taken on a loopback address only", _LOOPBACK)
        if not _from_here(request):
            return _refused(403, "the order comes from a page of another site", _NO_PAGE)
        name, verb = request.path_params["name"], request.path_params["verb"]
        if verb not in set(Verb):
            return _refused(404, f"there is no order `{verb}`; there are {', '.join(Verb)}")
        try:
            self._orders.order(name, Verb(verb))
        except UnknownPipeline as error:
            return _problem(404, error)
        except KafkaEtlError as error:
            return _problem(409, error)
        return _answer({"pipeline": name, "order": verb}, 202)


def describe(view: View, status: PipelineStatus) -> dict[str, Any]:
    """A pipeline as JSON-ready data; `kafka-etl status` prints it."""
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
        "guarantee": status.guarantee,
        "workers": status.workers,
        "partitions": len(status.positions),
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
        "seconds": {phase: round(value, 3) for phase, value in phases.items()},
        "trouble": status.trouble,
        "error": None if problem is None else asdict(problem),
    }


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


def _problem(status: int, error: KafkaEtlError) -> Response:
    return _answer({"error": asdict(error.problem)}, status)


def _refused(status: int, what: str, next_step: str = "") -> Response:
    return _problem(status, OrderRefused(what, next_step))


def _from_here(request: Request) -> bool:
    """Whether no web page of another site is behind the request, nor a name that leads here."""
    host = request.headers.get("host", "")
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin", f"http://{host}")
    named = _HOST.fullmatch(host)
    return (
        named is not None
        and _is_loopback(named[1] or named[2])
        and site in {"none", "same-origin"}
        and origin.partition("://")[2] == host
    )


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
