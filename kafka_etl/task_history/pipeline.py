"""A pipeline in task mode as one sees it from outside: its topics, its index, one of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec

from kafka_etl.errors import NoSuchTask
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.cluster.topics import existing_partitions, record_at
from kafka_etl.kafka.tasks.meta import read_meta
from kafka_etl.kafka.tasks.open_tasks import Crowd, look
from kafka_etl.readable import plain
from kafka_etl.record import Partition
from kafka_etl.task_history.index import Index, open_index
from kafka_etl.task_history.rows import Task
from kafka_etl.tasks.head import Head, decode_head
from kafka_etl.tasks.journal import head_key
from kafka_etl.tasks.log_records import TOPIC
from kafka_etl.tasks.placing import Order, inbox_of, journal_of, owners_of

_NAMED: Final = 5
"""The most tasks that the error about an ambiguous id names."""
_TRIES: Final = 3
_STARTS_WITH_PIPELINE: Final = (
    "It is created when the pipeline starts; only pipelines with `mode: task` have one."
)


@dataclass(frozen=True)
class Everything:
    """A task with its head.

    Attributes:
        task: The task as the index knows it.
        data: The head as the journal has it.
        inbox: Name of the pipeline's inbox.
    """

    task: Task
    data: bytes
    inbox: str

    @cached_property
    def head(self) -> Head | None:
        """The head; None: it cannot be read."""
        try:
            return decode_head(self.data)
        except msgspec.MsgspecError:
            return None


@dataclass(frozen=True, slots=True)
class TaskPipeline:
    """A pipeline in task mode.

    Attributes:
        name: Name of the pipeline.
        consumer: Settings of consumers; likewise `producer`.
        admin: Admin client of the cluster, which every part of a command shares.
        logs: Topic of what attempts print.
        order: Whether tasks of one key run one after the other; None: the journal says so.
    """

    name: str
    consumer: Mapping[str, Any]
    producer: Mapping[str, Any]
    admin: Admin
    logs: str = TOPIC
    order: Order | None = None

    @property
    def inbox(self) -> str:
        """Name of the topic of words."""
        return inbox_of(self.name)

    @property
    def journal(self) -> str:
        """Name of the topic of heads."""
        return journal_of(self.name)

    def partitions(self) -> int:
        """Number of partitions of the inbox, into which this user may write.

        Raises:
            TopicMissing: There is no inbox, or no journal.
            NotAuthorized: This user lacks the right to one of them.
        """
        inbox = existing_partitions(self.admin, self.inbox, _STARTS_WITH_PIPELINE, "WRITE")
        existing_partitions(self.admin, self.journal, _STARTS_WITH_PIPELINE)
        return len(inbox)

    def has_order(self) -> bool:
        """Whether tasks of one key run one after the other, so that keys decide their partitions.

        Raises:
            JournalUnreadable: A later release has begun the journal.
            KafkaEtlError: The journal cannot be read.
        """
        if self.order is not None:
            return self.order == "key"
        meta = read_meta(self.admin, self.consumer, self.journal)
        return meta is not None and meta.order == "key"

    def inbox_ends(self) -> Mapping[int, int]:
        """Partition -> the offset after the last word."""
        return self._ends(self.inbox, range(self.partitions()))

    def journal_ends(self, numbers: Iterable[int]) -> Mapping[int, int]:
        """Partition -> the offset after the last record of the journal."""
        return self._ends(self.journal, numbers)

    def crowd(self) -> Crowd | None:
        """The open tasks, and how many there may be; None: nobody can tell."""
        return look(self.consumer, self.inbox, owners_of(self.name))

    def _ends(self, topic: str, numbers: Iterable[int]) -> Mapping[int, int]:
        ends = self.admin.latest([Partition(topic, number) for number in numbers])
        return {partition.number: end for partition, end in ends.items()}

    @contextmanager
    def opened_index(
        self, progress: Callable[[str], None] = lambda _line: None, *, rebuild: bool = False
    ) -> Generator[Index]:
        """Open the index and bring it up to date.

        Args:
            progress: Is told how far the index is.
            rebuild: Whether to make the index anew from the journal.

        Raises:
            KafkaEtlError: The journal does not exist or cannot be read, or the index cannot be
                written.
        """
        existing_partitions(self.admin, self.journal, _STARTS_WITH_PIPELINE)
        index = open_index(self.consumer, self.admin, self.journal, progress, rebuild=rebuild)
        try:
            yield index
        finally:
            index.close()

    def everything(self, begin: str, progress: Callable[[str], None]) -> Everything:
        """Everything about the task of this id, or the only one whose id begins so.

        Where a newer head has taken the place of the one that the index names, the index is
        brought up to date again.

        Raises:
            NoSuchTask: There is no such task, or there are several.
            KafkaEtlError: As `opened_index`.
        """
        for _ in range(_TRIES):
            with self.opened_index(progress) as index:
                task = task_beginning(index, begin)
            partition = Partition(self.journal, task.row.partition)
            record = record_at(self.consumer, partition, task.row.offset)
            if record is not None and record.key() == head_key(task.row.id):
                return Everything(task, record.value() or b"", self.inbox)
        raise NoSuchTask(f"{self.journal} has changed task {begin} again and again", "Ask again.")


def named_task(index: Index, task: str) -> Task:
    """The task of this id.

    Raises:
        NoSuchTask: There is none; or there are several, in different partitions.
    """
    found = index.named(task)
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(str(each.row.partition) for each in found)
        raise NoSuchTask(
            f"{index.journal} has several tasks {task}, in partitions {numbers}",
            "Their keys differ. Name one of them by a filter, such as `--where` with "
            f"\"id == '{plain(task)}' and partition == {found[0].row.partition}\".",
        )
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
