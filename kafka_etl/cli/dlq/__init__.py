"""`kafka-etl dlq`: dead letters as a tool."""

from __future__ import annotations

import typer

from kafka_etl.cli.dlq import debug, drop, export, import_letters, release, replay, show
from kafka_etl.cli.dlq import list as list_

app = typer.Typer(help="Dead letters: records that failed for good, and why.", no_args_is_help=True)
app.command("list")(list_.list_letters)
app.command()(show.show)
app.command()(debug.debug)
app.command()(replay.replay)
app.command()(drop.drop)
app.command()(release.release)
app.command()(drop.actions)
app.command()(export.export)
app.command("import")(import_letters.import_letters)


@app.callback()
def root() -> None:
    """Dead letters: records that failed for good, and why."""
