"""Finds the pipeline of a command, and opens its index."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.cluster import find_cluster, has_journal, is_file

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.task_history.index import Index
    from kafka_etl.task_history.pipeline import TaskPipeline
    from kafka_etl.task_history.where import Where

Given = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="A pipeline file, or the name of a pipeline.")
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPRESSION", help="Letters that match a filter."),
]


@contextmanager
def progress_line() -> Generator[Callable[[str], None]]:
    """Show on a terminal how far the index is, as long as that takes."""
    from kafka_etl.cli.dlq.filters import ProgressLine

    line = ProgressLine()
    try:
        yield line.show
    finally:
        line.clear()


@contextmanager
def opened_index(found: TaskPipeline, *, rebuild: bool = False) -> Generator[Index]:
    """Open the index and bring it up to date; a terminal shows how far.

    Raises: as `TaskPipeline.opened_index`.
    """
    with ExitStack() as stack:
        with progress_line() as progress:
            index = stack.enter_context(found.opened_index(progress, rebuild=rebuild))
        yield index


def find_pipeline(
    given: str, kafka: str | None, pipeline: Path | None, overrides: Mapping[str, str]
) -> TaskPipeline:
    """Find a pipeline by its file or by its name.

    Args:
        given: A pipeline file, or the name of a pipeline.
        kafka: Bootstrap servers of the option `--kafka`.
        pipeline: Pipeline file with client settings, if `given` is a name.
        overrides: Place in the pipeline file -> YAML text of its value.

    Raises:
        ConfigError: The file is not valid.
        TopicMissing: A folder was given, which has no pipeline file; nor is its name a pipeline's.
        BrokersUnreachable: No broker answers.
    """
    from kafka_etl.errors import TopicMissing
    from kafka_etl.kafka.cluster.admin import reached
    from kafka_etl.task_history.pipeline import TaskPipeline

    file = Path(given) if is_file(given) else None
    cluster = find_cluster(kafka, file or pipeline, overrides)
    name = cluster.spec.name if file is not None and cluster.spec is not None else given
    admin = reached(cluster.admin)
    if file is None and Path(given).is_dir() and not has_journal(admin, name):
        said = f"there is no pipeline file in `{given}`, nor a pipeline of that name"
        raise TopicMissing(said, "Name a pipeline file, or a folder that has one.")
    logs = _logs_topic(file or pipeline, overrides)
    return TaskPipeline(name, cluster.consumer, cluster.producer, admin, logs)


def _logs_topic(file: Path | None, overrides: Mapping[str, str]) -> str:
    """The topic of logs that a pipeline file names; without a file, the usual one."""
    from kafka_etl.cli.daemon.run import read_pipelines
    from kafka_etl.tasks.log_records import TOPIC

    read = [] if file is None else read_pipelines([file], dict(overrides))
    named = (spec.source.with_.get("logs_topic") for _, spec in read)
    return next((str(topic) for topic in named if topic), TOPIC)


def parse_where(text: str | None) -> Where | None:
    """Parse the filter of `--where`.

    Raises:
        typer.BadParameter: The text is no filter; names the column and what would be right.
    """
    from kafka_etl.expression import ExpressionError
    from kafka_etl.task_history.where import Where

    if text is None:
        return None
    try:
        return Where(text)
    except ExpressionError as error:
        raise typer.BadParameter(str(error), param_hint="--where") from None
