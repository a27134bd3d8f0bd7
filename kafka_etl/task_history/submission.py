"""Submits a task by hand, and finds out what an owner makes of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from kafka_etl.errors import RecordsNotSent, TasksFull
from kafka_etl.task_history.pipeline import TaskPipeline
from kafka_etl.task_history.sending import (
    PATIENCE,
    Addressed,
    largest_word,
    send_words,
    watching,
)
from kafka_etl.task_history.watch import Watch
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.placing import partition_of
from kafka_etl.tasks.words import Submit, encode_word

_PREVIEW: Final = 1024


class Submission:
    """A submission that the inbox has.

    Attributes:
        place: Partition and id of the task.
        watch: Follows the task.
    """

    def __init__(
        self, place: tuple[int, str], word: str, ends: Mapping[int, int], watch: Watch
    ) -> None:
        self.place: Final = place
        self.watch: Final = watch
        self._word = word
        self._ends = ends

    def until_taken(self, patience: float = PATIENCE) -> bool:
        """Wait until an owner has taken it, or for so long; returns whether one has."""
        return self.watch.until_taken(self._ends, patience)

    @property
    def head(self) -> Head | None:
        """The task's newest head; None: there is none yet."""
        return self.watch.heads.get(self.place)

    @property
    def is_mine(self) -> bool:
        """Whether the task is the one that this submission has made, and not an earlier one."""
        head = self.head
        return head is not None and head.submit is not None and head.submit.word == self._word


@contextmanager
def submitted(pipeline: TaskPipeline, task: str, body: bytes, by: str) -> Generator[Submission]:
    """Submit a task.

    Args:
        pipeline: The pipeline.
        task: Id of the task.
        body: The input.
        by: Who submits it: `USER@HOST`.

    Raises:
        TasksFull: As many tasks are open as the pipeline allows.
        RecordsNotSent: The inbox takes no record of this size, or the brokers do not have it.
        KafkaEtlError: There is no inbox, or no broker answers.
    """
    place = (partition_of(task, pipeline.partitions()), task)
    word, limit = secrets.token_hex(16), largest_word(pipeline)
    submission = Submit(
        word=word,
        by=by,
        accepted_ms=time.time_ns() // 1_000_000,
        size=len(body),
        preview=body[:_PREVIEW].decode("utf-8", "replace"),
    )
    addressed = Addressed(*place, encode_word(submission, body))
    if addressed.size > limit:
        raise RecordsNotSent(
            f"the input has {len(body):,} bytes, with which its record has up to "
            f"{addressed.size:,}; {pipeline.inbox} takes {limit:,}",
            "Put the data elsewhere and submit where they are, or raise max.message.bytes of the "
            "inbox.",
        )
    _require_room(pipeline)
    with watching(pipeline, [place]) as watch:
        ends = send_words(pipeline, [addressed], limit)
        yield Submission(place, word, ends, watch)


def _require_room(pipeline: TaskPipeline) -> None:
    """Look whether one more task may be open; who cannot look submits without.

    Raises:
        TasksFull: It may not.
    """
    crowd = pipeline.crowd()
    if crowd is not None and crowd.is_full:
        raise TasksFull(
            f"{crowd.open:,} tasks of {pipeline.name} are open, and `max_open` is "
            f"{crowd.most:,}: this one was not submitted"
        )
