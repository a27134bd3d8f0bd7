"""Sends words to the inbox, and waits until an owner has taken them."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from kafka_etl.errors import RecordsNotSent
from kafka_etl.kafka.cluster.topics import Sender
from kafka_etl.task_history.pipeline import TaskPipeline
from kafka_etl.task_history.watch import Watch
from kafka_etl.tasks.words import WordRecord

PATIENCE: Final = 5.0
"""Seconds without any progress of an owner after which a command waits no longer."""

_DEFAULT_LIMIT: Final = 1_048_588
_AROUND: Final = 150
"""Bytes of a set of one record beside its key, value and headers, at most."""
_AROUND_HEADER: Final = 10
_SHOWN: Final = 3


class Addressed(NamedTuple):
    """A word with its address.

    Attributes:
        partition: Partition of the inbox.
        task: Id of the task.
    """

    partition: int
    task: str
    word: WordRecord

    @property
    def size(self) -> int:
        """Bytes of the record, at most."""
        headers = sum(
            len(name) + len(value or b"") + _AROUND_HEADER for name, value in self.word.headers
        )
        return len(self.task.encode()) + len(self.word.value or b"") + headers + _AROUND


def largest_word(pipeline: TaskPipeline) -> int:
    """Bytes of the largest record that the inbox takes."""
    settings = pipeline.admin.settings_of([pipeline.inbox]).get(pipeline.inbox, {})
    return int(settings.get("max.message.bytes", _DEFAULT_LIMIT))


def require_room(pipeline: TaskPipeline, addressed: Addressed, limit: int) -> None:
    """Check that the inbox takes a word with an input.

    Raises:
        RecordsNotSent: The inbox takes no record of this size.
    """
    if addressed.size > limit:
        raise RecordsNotSent(
            f"the input has {len(addressed.word.value or b''):,} bytes, with which its record has "
            f"up to {addressed.size:,}; {pipeline.inbox} takes {limit:,}",
            "Put the data elsewhere and submit where they are, or raise max.message.bytes of the "
            "inbox.",
        )


@contextmanager
def watching(pipeline: TaskPipeline, places: Collection[tuple[int, str]]) -> Generator[Watch]:
    """Watch what owners write from now on.

    Args:
        pipeline: The pipeline.
        places: The tasks whose heads are wanted, each (partition, id).
    """
    begins = pipeline.journal_ends({number for number, _ in places})
    with Watch(pipeline.consumer, pipeline.journal, begins, places) as watch:
        yield watch


def send_words(pipeline: TaskPipeline, words: Iterable[Addressed], limit: int) -> Mapping[int, int]:
    """Send words, and wait until the brokers have them.

    Args:
        pipeline: The pipeline.
        words: The words.
        limit: Bytes of the largest record that the inbox takes.

    Returns:
        Partition -> the offset after the last of the words.

    Raises:
        RecordsNotSent: The brokers do not have them all.
    """
    sender = Sender(pipeline.producer, pipeline.inbox, limit)
    for partition, task, word in words:
        sender.send(word.value, task.encode(), word.headers, partition)
        if sender.sent.failed:
            break
    sent = sender.finish()
    if sent.failed:
        reasons = "; ".join(list(sent.failed.values())[:_SHOWN])
        raise RecordsNotSent(
            f"{pipeline.inbox} has {sent.arrived:,} words more, but not all: {reasons}",
            "Correct what is named above, and give the same command again: a task that has "
            "changed since is left alone.",
        )
    return sent.ends
