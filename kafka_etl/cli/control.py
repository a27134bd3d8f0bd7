"""`kafka-etl status|pause|resume|restart`: talking to a running daemon."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kafka_etl.cli.options import DEFAULT_HTTP, Http, parse_address

_SHOWN_CAUSES = 3

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
        for line in _causes(pipeline):
            typer.echo(line)


def pause(name: Name, *, http: Http = DEFAULT_HTTP) -> None:
    """Stop fetching; the workers stay members of their group."""
    _order(http, name, "pause")


def resume(name: Name, *, http: Http = DEFAULT_HTTP) -> None:
    """Go on after a pause; lets the slice that tripped the breaker pass, about a second's work."""
    _order(http, name, "resume")


def restart(name: Name, *, http: Http = DEFAULT_HTTP) -> None:
    """Drain, read the pipeline's file again, and start anew."""
    _order(http, name, "restart")


def _order(http: str, name: str, verb: str) -> None:
    from urllib.parse import quote

    _ask(http, "POST", f"/pipelines/{quote(name, safe='')}/{verb}")
    typer.echo(f"{name}: {verb} ordered", err=True)


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
        case {"pipelines": list()} | {"pipeline": str()}:
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


def _causes(pipeline: dict[str, Any]) -> list[str]:
    """The commonest causes of dead letters; none of a daemon that does not tell them."""
    from shlex import quote

    causes = pipeline.get("causes", [])
    lines = [
        f"  dead letters: {cause['count']:,} {cause['condition']}"
        f"{' in ' + cause['operator'] if cause['operator'] else ''}: {cause['error']}"
        for cause in causes[:_SHOWN_CAUSES]
    ]
    if lines:
        example = causes[0]["example"]
        lines.append(f"    kafka-etl dlq show {quote(pipeline['file'])} {example}")
    return lines
