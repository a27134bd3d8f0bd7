"""Submits a task by hand, and finds out what an owner makes of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from kafka_etl.errors import RequestRefused, TasksFull
from kafka_etl.task_history.pipeline import TaskPipeline
from kafka_etl.task_history.sending import (
    PATIENCE,
    Addressed,
    largest_word,
    require_room,
    send_words,
    watching,
)
from kafka_etl.task_history.watch import Watch
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.placing import partition_of, route_of
from kafka_etl.tasks.words import Submit, encode_input, preview_of


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
def submitted(
    pipeline: TaskPipeline, task: str, body: bytes, by: str, key: bytes | None = None
) -> Generator[Submission]:
    """Submit a task.

    Args:
        pipeline: The pipeline.
        task: Id of the task.
        body: The input.
        by: Who submits it: `USER@HOST`.
        key: Key of the input; None: there is none.

    Raises:
        RequestRefused: There is no key, and keys say which tasks wait for each other.
        TasksFull: As many tasks are open as the pipeline allows.
        RecordsNotSent: The inbox takes no record of this size, or the brokers do not have it.
        KafkaEtlError: There is no inbox, or no broker answers.
    """
    partitions = pipeline.partitions()
    route = _route_in(pipeline, key)
    place = (partition_of(route or task, partitions), task)
    word, limit = secrets.token_hex(16), largest_word(pipeline)
    submission = Submit(
        word=word,
        by=by,
        route=route,
        accepted_ms=time.time_ns() // 1_000_000,
        size=len(body),
        preview=preview_of(body),
    )
    addressed = Addressed(*place, encode_input(submission, body, key))
    require_room(pipeline, addressed, limit)
    _require_opening(pipeline)
    with watching(pipeline, [place]) as watch:
        ends = send_words(pipeline, [addressed], limit)
        yield Submission(place, word, ends, watch)


def _route_in(pipeline: TaskPipeline, key: bytes | None) -> str:
    """The route of a new task; empty: the pipeline runs its tasks in no order.

    Raises:
        RequestRefused: There is an order, and no key.
    """
    if not pipeline.has_order():
        return ""
    if key is None:
        raise RequestRefused(
            f"{pipeline.name} runs tasks of one key one after the other (`order: key`), and this "
            "task has no key",
            "Give the key of the record that the task stands for: `--key KEY`, or the parameter "
            "`key` over HTTP.",
        )
    return route_of(key)


def _require_opening(pipeline: TaskPipeline) -> None:
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
