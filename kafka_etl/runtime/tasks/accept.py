"""The operator that accepts tasks: each record of the source becomes a submission in the inbox."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Final

from kafka_etl.expression import Expression
from kafka_etl.functions.declare import operator
from kafka_etl.record import Record, offset_of, partition_of
from kafka_etl.tasks.head import Failure, Origin
from kafka_etl.tasks.placing import partition_of as partition_of_task
from kafka_etl.tasks.words import Submit, encode_submit, id_problem

PARTITION: Final = "p"
"""Header with the number of the partition, which the sink reads."""
_ID: Final = "task-id"


def submit(*, partitions: int, id: Expression | None = None) -> Callable[[Record], Record]:  # noqa: A002 - the user's word
    """Make a submission of each record, whose value stays as it is.

    Args:
        partitions: Number of partitions of the inbox.
        id: Id of the task; None: the header `task-id`, else topic, partition and offset.
    """
    compute = None if id is None else id.on_record()

    @operator(reads_only=True)
    def accept(record: Record) -> Record:
        source = record.source
        if source is None:
            raise ValueError("a task needs a record of the source")
        tp, offset = partition_of(source), offset_of(source)
        place = f"{tp.topic}-{tp.number}-{offset}"
        task, problem = place, None
        try:
            task = _text(record.header(_ID) or place) if compute is None else _text(compute(record))
            problem = id_problem(task)
        except Exception as error:  # noqa: BLE001 - an expression fails in any way on any data
            problem = f"{type(error).__name__}: {error}"
        invalid = None
        if problem is not None:
            task, invalid = place, Failure("InvalidId", problem)
        word = Submit(
            word=token_hex(8),
            origin=Origin(tp.topic, tp.number, offset, timestamp=record.timestamp),
            invalid=invalid,
        )
        headers = encode_submit(word, None, source.key(), record.headers).headers
        number = partition_of_task(task, partitions)
        return record.replace(
            key=task.encode(), headers=[*headers, (PARTITION, str(number).encode())]
        )

    return accept


def _text(found: object) -> str:
    return found.decode() if isinstance(found, bytes) else str(found)
