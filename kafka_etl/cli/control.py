"""`kafka-etl status|pause|resume|restart`: talking to a running daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kafka_etl.cli.options import HttpOfDaemon, StateDir

Name = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline's name.")]


def status(
    *,
    http: HttpOfDaemon = None,
    state_dir: StateDir = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the pipelines of a daemon."""
    import orjson

    answer = _ask(http, state_dir, "GET", "/pipelines")
    if json:
        typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    for pipeline in answer["pipelines"]:
        typer.echo(_line(pipeline))
        for key in ("trouble", "error"):
            if pipeline[key]:
                said = pipeline[key] if key == "trouble" else _said(pipeline["error"])
                typer.echo(f"  {key}: {said}")


def pause(name: Name, *, http: HttpOfDaemon = None, state_dir: StateDir = None) -> None:
    """Stop fetching; the workers stay members of their group."""
    _order(http, state_dir, name, "pause")


def resume(name: Name, *, http: HttpOfDaemon = None, state_dir: StateDir = None) -> None:
    """Go on after a pause; lets the slice that tripped the breaker pass, about a second's work."""
    _order(http, state_dir, name, "resume")


def restart(name: Name, *, http: HttpOfDaemon = None, state_dir: StateDir = None) -> None:
    """Drain, read the pipeline's file again, and start anew."""
    _order(http, state_dir, name, "restart")


def _order(http: str | None, state_dir: Path | None, name: str, verb: str) -> None:
    from urllib.parse import quote

    _ask(http, state_dir, "POST", f"/pipelines/{quote(name, safe='')}/{verb}")
    typer.echo(f"{name}: {verb} ordered", err=True)


def _ask(http: str | None, state_dir: Path | None, method: str, path: str) -> Any:
    """The daemon's answer as data; what it refuses is raised here."""
    from http.client import HTTPException

    import orjson

    from kafka_etl.cli.daemon_address import find
    from kafka_etl.errors import DaemonUnreachable, Problem, error_of

    address, connection = find(http, state_dir)
    stranger = f"something else than a daemon answers at {address}"
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        data = orjson.loads(answer.read())
    except OSError as error:
        raise DaemonUnreachable(f"no daemon answers at {address}: {error}") from error
    except (HTTPException, orjson.JSONDecodeError) as error:
        raise DaemonUnreachable(stranger) from error
    finally:
        connection.close()
    match data:
        case {"pipelines": list()} | {"pipeline": str()}:
            return data
        case {"error": {"code": str(code), "what": str(what), "next_step": str(next_step)}}:
            raise error_of(Problem(code, what, next_step))
        case _:  # any program may listen on the port
            raise DaemonUnreachable(stranger)


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
