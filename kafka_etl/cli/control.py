"""`kafka-etl status|pause|resume|restart`: talking to a running daemon."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from kafka_etl.cli.options import DEFAULT_HTTP, Http, parse_address

_WAIT: Final = 120.0

Wait = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="How long to wait for the outcome."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline's name.")]


def status(
    *,
    http: Http = DEFAULT_HTTP,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the pipelines of a daemon."""
    import orjson

    answer = _ask(http, "GET", "/pipelines")
    if json:
        typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    for pipeline in answer["pipelines"]:
        typer.echo(_line(pipeline))
        for key in ("trouble", "error"):
            if pipeline[key]:
                said = pipeline[key] if key == "trouble" else _said(pipeline["error"])
                typer.echo(f"  {key}: {said}")


def pause(name: Name, *, wait: Wait = _WAIT, http: Http = DEFAULT_HTTP) -> None:
    """Stop fetching; the workers stay members of their group."""
    _order(http, name, "pause", wait)


def resume(name: Name, *, wait: Wait = _WAIT, http: Http = DEFAULT_HTTP) -> None:
    """Go on after a pause; lets the slice that tripped the breaker pass, about a second's work."""
    _order(http, name, "resume", wait)


def restart(name: Name, *, wait: Wait = _WAIT, http: Http = DEFAULT_HTTP) -> None:
    """Check the file again and swap versions; what runs now stays if the check fails."""
    _order(http, name, "restart", wait)


def _order(http: str, name: str, verb: str, wait: float) -> None:
    """Give an order, and say what comes of it."""
    from urllib.parse import quote

    from kafka_etl.errors import OutcomeOpen

    give_up_at = time.monotonic() + wait
    order = _ask(http, "POST", f"/pipelines/{quote(name, safe='')}/{verb}")
    said = ""
    while not order["settled"]:
        if order["progress"] != said:
            said = order["progress"]
            typer.echo(f"{name}: {said}", err=True)
        if time.monotonic() > give_up_at:
            raise OutcomeOpen(f"`{verb} {name}` is still under way after {wait:g} s: {said}")
        order = _ask(http, "GET", f"/orders/{order['id']}")
    for note in order["notes"]:
        typer.echo(f"{name}: {note}", err=True)
    typer.echo(f"{name}: {order['progress']}", err=True)


def _ask(address: str, method: str, path: str) -> Any:
    """The daemon's answer as data; what it refuses is raised here."""
    from http.client import HTTPConnection, HTTPException

    import orjson

    from kafka_etl.errors import DaemonUnreachable, Problem, error_of

    host, port = parse_address(address)
    connection = HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        data = orjson.loads(answer.read())
    except (OSError, HTTPException, orjson.JSONDecodeError) as error:
        raise DaemonUnreachable(f"no daemon answers at {address}: {error}") from error
    finally:
        connection.close()
    match data:
        case {"pipelines": list()} | {"pipeline": str(), "id": str(), "settled": bool()}:
            return data
        case {"error": {"code": str(code), "what": str(what), "next_step": str(next_step)}}:
            raise error_of(Problem(code, what, next_step))
        case _:  # any program may listen on the port
            raise DaemonUnreachable(f"something else than a daemon answers at {address}")


def _line(pipeline: dict[str, Any]) -> str:
    lag, rates, counts = pipeline["lag"], pipeline["rates"], pipeline["counts"]
    guarantee = f" ({pipeline['guarantee']})" if pipeline["guarantee"] else ""
    behind = "lag unknown"
    if lag["records"] is not None:
        behind = f"lag {lag['records']:,} records, {lag['seconds']:,.0f} s"
    deaths = f", {counts['worker_deaths']:,} worker deaths" if counts["worker_deaths"] else ""
    pause = ", to be paused" if pipeline["to_be_paused"] else ""
    return (
        f"{pipeline['name']}: {pipeline['state']}{pause}{guarantee}, "
        f"{pipeline['workers']} workers, {pipeline['partitions']} partitions, "
        f"{rates['records_in']:,.0f} rec/s in, {rates['records_out']:,.0f} out, "
        f"{behind}; "
        f"{counts['dead_letters']:,} dead letters{deaths}"
    )


def _said(error: dict[str, str]) -> str:
    return f"[{error['code']}] {error['what']} Next: {error['next_step']}"
