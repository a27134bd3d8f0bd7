"""`kafka-etl demo`."""

from __future__ import annotations

import typer


def demo() -> None:
    """The show: a real Kafka, a pipeline, outputs and a dead letter."""
    typer.echo("not yet")
    raise typer.Exit(1)
