"""Registers all commands, and shows errors of the project as text instead of a traceback."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kafka_etl.cli.groups import Group, add

app = typer.Typer(
    name="kafka-etl",
    cls=Group,
    help="Kafka pipelines in YAML and plain Python: exactly once, dead letters included.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # importing rich would delay the help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
add(app, "run", "daemon.run:run", "Run pipelines until SIGTERM or SIGINT.")
add(app, "validate", "validate:validate", "Check pipeline files without Kafka.")
add(app, "try", "trial.try_out:try_out", "Run operators on some records; write nothing.")
add(app, "tap", "topics.tap:tap", "Show what goes into a pipeline and comes out, live.")
add(app, "test", "trial.cases:run_cases", "Run the test cases of pipelines, without Kafka.")
add(app, "status", "daemon.control:status", "Show the pipelines of a daemon.")
add(app, "top", "daemon.control:top", "Show the pipelines of a daemon, live.")
add(app, "pause", "daemon.control:pause", "Pause a pipeline.")
add(app, "resume", "daemon.control:resume", "Resume a pipeline.")
add(app, "restart", "daemon.control:restart", "Restart a pipeline from its file.")
add(app, "plugins", "plugins.plugins:plugins", "List plug-ins, or show the settings of one.")
add(app, "explain", "explain:explain", "Explain an error code, with an example.")
add(app, "doctor", "doctor:doctor", "Check host, brokers and a pipeline's topics.")
add(app, "schema", "schema:schema", "Print the JSON Schema of pipeline files.")
add(app, "demo", "demo.demo:demo", "Run a pipeline on a real Kafka, started for the demo.")
add(app, "init", "init:init", "Make a project with a pipeline, tests and CI.")
add(app, "show", "topics.show:show", "Show committed records of a topic.")
add(app, "send", "topics.send:send", "Send lines to a topic, one record each.")
add(app, "dlq", "dlq:app", "Dead letters: list, show, debug, replay, export.")
add(app, "tasks", "tasks:app", "Tasks: list, show, submit, stop, retry, logs.")
add(app, "offsets", "topics.offsets:app", "Offsets of a pipeline's consumer group.")
add(app, "broker", "broker:app", "A real Apache Kafka on this machine.")


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
    from kafka_etl.errors import KafkaEtlError
    from kafka_etl.terminal import escape_unknown_characters

    escape_unknown_characters()
    try:
        app()
    except KafkaEtlError as error:
        typer.echo(str(error.problem), err=True)
        sys.exit(error.exit_status)
