"""`kafka-etl status|top|pause|resume|restart`: sends requests to a running daemon."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from kafka_etl.cli.options import HttpOfDaemon, StateDir

_WAIT: Final = 120.0

Wait = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="How long to wait for the outcome."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline's name.")]


def status(
    *,
    http: HttpOfDaemon = None,
    state_dir: StateDir = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the pipelines of a daemon as a table; exit 1 if one has failed."""
    import orjson

    from kafka_etl.cli.daemon.address import ask
    from kafka_etl.cli.daemon.status_table import FAILED

    answer = ask(http, state_dir, "GET", "/pipelines")
    pipelines = answer["pipelines"]
    if json:
        typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo("\n".join(_shown(pipelines)))
    if any(pipeline["state"] in FAILED for pipeline in pipelines):
        raise typer.Exit(1)


def top(
    *,
    every: Annotated[
        float, typer.Option(min=0.2, metavar="SECONDS", help="Seconds between two updates.")
    ] = 1.0,
    http: HttpOfDaemon = None,
    state_dir: StateDir = None,
) -> None:
    """Show the pipelines of a daemon on the whole terminal, updated each second, until Ctrl-C.

    In a pipe, the tables follow each other. If the daemon stops, the command waits for it.

    Example: kafka-etl top --every 5
    """
    from kafka_etl.cli.daemon.address import ask
    from kafka_etl.cli.daemon.full_screen import FullScreen
    from kafka_etl.errors import DaemonUnreachable

    screen = FullScreen(sys.stdout)
    try:
        while True:
            try:
                lines = _shown(ask(http, state_dir, "GET", "/pipelines")["pipelines"])
            except DaemonUnreachable as error:
                lines = [str(error)]
            screen.show([time.strftime("%Y-%m-%d %H:%M:%S"), "", *lines])
            time.sleep(every)
    except KeyboardInterrupt:
        return
    finally:
        screen.close()


def _shown(pipelines: Any) -> list[str]:
    """The table of `status`, and what is to be said below."""
    from kafka_etl.cli.daemon.status_table import remarks, table
    from kafka_etl.terminal import columns

    below = [remark for pipeline in pipelines for remark in remarks(pipeline)]
    return [*table(pipelines, columns()), *(["", *below] if below else [])]


def pause(
    name: Name, *, wait: Wait = _WAIT, http: HttpOfDaemon = None, state_dir: StateDir = None
) -> None:
    """Pause a pipeline: workers stop fetching, and stay members of their group."""
    _order(http, state_dir, name, "pause", wait)


def resume(
    name: Name, *, wait: Wait = _WAIT, http: HttpOfDaemon = None, state_dir: StateDir = None
) -> None:
    """Resume a pipeline; the slice (about 1 s of work) that tripped the breaker is let through."""
    _order(http, state_dir, name, "resume", wait)


def restart(
    name: Name, *, wait: Wait = _WAIT, http: HttpOfDaemon = None, state_dir: StateDir = None
) -> None:
    """Restart a pipeline from its file; if the check fails, the old version keeps running."""
    _order(http, state_dir, name, "restart", wait)


def _order(http: str | None, state_dir: Path | None, name: str, verb: str, wait: float) -> None:
    """Give an order, wait for its outcome, and print its progress and outcome.

    Raises:
        OutcomeOpen: The order is not settled after `wait` seconds.
        KafkaEtlError: The daemon refused the order, or the order failed.
    """
    from urllib.parse import quote

    from kafka_etl.cli.daemon.address import ask
    from kafka_etl.errors import OutcomeOpen

    give_up_at = time.monotonic() + wait
    order = ask(http, state_dir, "POST", f"/pipelines/{quote(name, safe='')}/{verb}")
    said = ""
    while not order["settled"]:
        if order["progress"] != said:
            said = order["progress"]
            typer.echo(f"{name}: {said}", err=True)
        if time.monotonic() > give_up_at:
            raise OutcomeOpen(f"`{verb} {name}` is still under way after {wait:g} s: {said}")
        order = ask(http, state_dir, "GET", f"/orders/{order['id']}")
    for note in order["notes"]:
        typer.echo(f"{name}: {note}", err=True)
    typer.echo(f"{name}: {order['progress']}", err=True)
