"""`kafka-etl tasks show`: everything about one task."""

from __future__ import annotations

from shlex import quote
from typing import Annotated

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.tasks.finding import Given, find_pipeline, progress_line


def show(  # noqa: PLR0913 - one parameter per option
    given: Given,
    task: Annotated[
        str, typer.Argument(metavar="ID", help="The task's id, or the beginning of it.")
    ],
    *,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Show everything about a task: input, result, attempts, history, where it runs.

    The JSON object has the fields of `tasks list --format json`, and key, input, result, error,
    stop, attempts_last, destinations, history, history_before, trace, token.

    Example: kafka-etl tasks show transcode a.mov
    """
    from kafka_etl.cli.tasks.one import as_json, as_text

    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    with progress_line() as progress:
        every = found.everything(task, progress)
    typer.echo(as_json(every) if json else as_text(every, quote(given)))
