"""Registers all commands, and shows errors of the project as text instead of a traceback."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kafka_etl.cli import (
    broker,
    cases,
    control,
    demo,
    dlq,
    init,
    offsets,
    plugins,
    run,
    send,
    show,
    tasks,
    try_out,
    validate,
)
from kafka_etl.errors import KafkaEtlError

app = typer.Typer(
    name="kafka-etl",
    help="Kafka pipelines in YAML and plain Python: exactly once, dead letters included.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # importing rich would delay the help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(validate.validate)
app.command("try")(try_out.try_out)
app.command("test")(cases.run_cases)
app.command()(control.status)
app.command()(control.pause)
app.command()(control.resume)
app.command()(control.restart)
app.command()(plugins.plugins)
app.command()(demo.demo)
app.command()(init.init)
app.command()(show.show)
app.command()(send.send)
app.add_typer(dlq.app, name="dlq")
app.add_typer(tasks.app, name="tasks")
app.add_typer(offsets.app, name="offsets")
app.add_typer(broker.app, name="broker")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("kafka-etl"))
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Kafka pipelines in YAML and plain Python: exactly once, dead letters included."""


def run_app() -> None:
    """Run the command line; a `KafkaEtlError` ends the process with its text and exit status."""
    try:
        app()
    except KafkaEtlError as error:
        typer.echo(str(error.problem), err=True)
        sys.exit(error.exit_status)
