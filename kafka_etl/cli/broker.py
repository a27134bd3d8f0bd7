"""`kafka-etl broker start|stop|status`: runs a real Kafka broker on this machine."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.groups import Command, group

if TYPE_CHECKING:
    from kafka_etl.broker import Progress

app = group("A real Apache Kafka on this machine, for trying things out.")

Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="Where it keeps its data; default: ~/.local/state/kafka-etl/broker.",
    ),
]


@app.command(cls=Command)
def start(folder: Folder = None) -> None:
    """Start the broker, downloading Kafka the first time; prints its address.

    Its port is the one that it had last, at first 9092; if that is taken, any free one.
    """
    from kafka_etl.broker import local

    with download_progress() as progress:
        broker = local.start(folder, progress)
    if broker.port != local.USUAL_PORT:
        said = f"{local.USUAL_PORT} is taken, so {broker.port}"
        advice = f"For pipelines with ${{KAFKA:-localhost:9092}}: export KAFKA={broker.bootstrap}"
        typer.echo(f"{said}. {advice}", err=True)
    typer.echo(broker.bootstrap)


@app.command(cls=Command)
def stop(folder: Folder = None) -> None:
    """Stop the broker; its data stays."""
    from kafka_etl.broker import local

    stopped = local.stop(folder)
    typer.echo("stopped" if stopped else "no broker runs", err=True)


@app.command(cls=Command)
def status(folder: Folder = None) -> None:
    """Print the broker's address; exit 1 if none runs."""
    from kafka_etl.broker import local

    broker = local.status(folder)
    if broker is None:
        typer.echo("no broker runs", err=True)
        raise typer.Exit(1)
    typer.echo(broker.bootstrap)
    typer.echo(f"Kafka {broker.version}, pid {broker.pid}, log {broker.log}", err=True)


@contextmanager
def download_progress() -> Generator[Progress]:
    """Yield a callback that shows the progress of the download of Kafka on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("Downloading Apache Kafka", start=False)

    def show(done: int, total: int, name: str) -> None:
        bar.start()
        bar.start_task(task)
        bar.update(task, completed=done, total=total, description=f"Downloading {name[:40]}")

    try:
        yield show
    finally:
        bar.stop()
