"""Finds the pipeline of a command, its topics, its index, and one of its tasks."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafka_etl.cli.cluster import Cluster, find_cluster, is_file

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.kafka.admin import Admin
    from kafka_etl.task_history.index import Index
    from kafka_etl.task_history.rows import Task
    from kafka_etl.task_history.where import Where

_NAMED: Final = 5
"""The most tasks that the error about an ambiguous id names."""
_STARTS_WITH_PIPELINE: Final = (
    "It is created when the pipeline starts; only pipelines with `mode: task` have one."
)

Given = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="A pipeline file, or the name of a pipeline.")
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPRESSION", help="Those that fit a filter."),
]


@dataclass(frozen=True, slots=True)
class TaskPipeline:
    """A pipeline in task mode.

    Attributes:
        name: Name of the pipeline.
        cluster: Client settings of its cluster.
        admin: Admin client of the cluster, which every part of a command shares.
    """

    name: str
    cluster: Cluster
    admin: Admin

    @property
    def inbox(self) -> str:
        """Name of the topic of words."""
        from kafka_etl.tasks.placing import inbox_of

        return inbox_of(self.name)

    @property
    def journal(self) -> str:
        """Name of the topic of heads."""
        from kafka_etl.tasks.placing import journal_of

        return journal_of(self.name)

    def partitions(self) -> int:
        """Number of partitions of the inbox, into which this user may write.

        Raises:
            TopicMissing: There is no inbox.
            NotAuthorized: This user lacks the right to the inbox.
        """
        from kafka_etl.kafka.topics import existing_partitions

        return len(existing_partitions(self.admin, self.inbox, _STARTS_WITH_PIPELINE, "WRITE"))

    def inbox_ends(self) -> Mapping[int, int]:
        """Partition -> the offset after the last word."""
        return self._ends(self.inbox, range(self.partitions()))

    def journal_ends(self, numbers: Iterable[int]) -> Mapping[int, int]:
        """Partition -> the offset after the last record of the journal."""
        return self._ends(self.journal, numbers)

    def _ends(self, topic: str, numbers: Iterable[int]) -> Mapping[int, int]:
        from kafka_etl.record import Partition

        ends = self.admin.latest([Partition(topic, number) for number in numbers])
        return {partition.number: end for partition, end in ends.items()}

    @contextmanager
    def opened_index(self, *, rebuild: bool = False) -> Generator[Index]:
        """Open the index and bring it up to date; a terminal shows how far.

        Raises:
            KafkaEtlError: The journal does not exist or cannot be read, or the index cannot be
                written.
        """
        from kafka_etl.cli.dlq.filters import ProgressLine
        from kafka_etl.kafka.topics import existing_partitions
        from kafka_etl.task_history.index import open_index

        existing_partitions(self.admin, self.journal, _STARTS_WITH_PIPELINE)
        progress = ProgressLine()
        try:
            index = open_index(
                self.cluster.consumer, self.admin, self.journal, progress.show, rebuild=rebuild
            )
        finally:
            progress.clear()
        try:
            yield index
        finally:
            index.close()


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
        BrokersUnreachable: No broker answers.
    """
    from kafka_etl.kafka.admin import reached

    file = Path(given) if is_file(given) else None
    cluster = find_cluster(kafka, file or pipeline, overrides)
    name = cluster.spec.name if file is not None and cluster.spec is not None else given
    return TaskPipeline(name, cluster, reached(cluster.admin))


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


def named_task(index: Index, task: str) -> Task:
    """The task of this id.

    Raises:
        NoSuchTask: There is none; or there are several, in different partitions.
    """
    from kafka_etl.cli.readable import plain
    from kafka_etl.errors import NoSuchTask

    found = index.named(task)
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(str(each.row.partition) for each in found)
        raise NoSuchTask(f"{index.journal} has several tasks {task}, in partitions {numbers}")
    near = [plain(each.row.id) for each in index.beginning(task, _NAMED)]
    said = f"; some begin so: {', '.join(near)}" if near else ""
    raise NoSuchTask(f"{index.journal} has no task {task}{said}")


def task_beginning(index: Index, begin: str) -> Task:
    """The task of this id, or the only one whose id begins so.

    Raises:
        NoSuchTask: There is none, or there are several.
    """
    if not index.named(begin):
        found = index.beginning(begin, 2)
        if len(found) == 1:
            return found[0]
    return named_task(index, begin)
