"""`kafka-etl tasks`: see, submit, stop and repeat the tasks of a pipeline, from any machine."""

from __future__ import annotations

import typer

from kafka_etl.cli.tasks import list as list_
from kafka_etl.cli.tasks import logs, orders, show, submit, wait

app = typer.Typer(
    help="Tasks of pipelines with `mode: task`: long work to watch, stop and repeat.",
    no_args_is_help=True,
)
app.command("list")(list_.list_tasks)
app.command()(show.show)
app.command()(submit.submit)
app.command()(orders.stop)
app.command()(orders.retry)
app.command()(orders.forget)
app.command()(wait.wait)
app.command()(logs.logs)
app.command()(logs.stack)


@app.callback()
def root() -> None:
    """Tasks of pipelines with `mode: task`: long work to watch, stop and repeat."""
