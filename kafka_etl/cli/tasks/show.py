"""`kafka-etl tasks show`: everything about one task."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.tasks.finding import Given, TaskPipeline, find_pipeline, task_beginning

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.cli.tasks.one import Everything
    from kafka_etl.record import SourceRecord
    from kafka_etl.task_history.rows import Task

_TRIES = 3


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

    The JSON object has the fields of `tasks list --format json`, and input, result, error, stop,
    attempts_last, destinations, history, history_before, trace, token.

    Example: kafka-etl tasks show transcode a.mov
    """
    from kafka_etl.cli.tasks.one import as_json, as_text

    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    every = _everything(found, task)
    typer.echo(as_json(every) if json else as_text(every, quote(given)))


def _everything(found: TaskPipeline, begin: str) -> Everything:
    """Read the head that the index names; where a newer one has taken its place, look again.

    Raises:
        NoSuchTask: There is no such task.
    """
    from kafka_etl.cli.tasks.one import Everything
    from kafka_etl.errors import NoSuchTask

    for _ in range(_TRIES):
        with found.opened_index() as index:
            task = task_beginning(index, begin)
        record = _head_record(found, task)
        if record is not None:
            return Everything(task, record.value() or b"", found.inbox)
    raise NoSuchTask(f"{found.journal} has changed task {begin} again and again", "Ask again.")


def _head_record(found: TaskPipeline, task: Task) -> SourceRecord | None:
    from kafka_etl.kafka.topics import record_at
    from kafka_etl.record import Partition
    from kafka_etl.tasks.journal import head_key

    partition = Partition(found.journal, task.row.partition)
    record = record_at(found.cluster.consumer, partition, task.row.offset)
    return record if record is not None and record.key() == head_key(task.row.id) else None
