"""Hand records to the producer as columns, so that the loop over the records runs in C."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice, repeat
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from kafka_etl.envelope import Encoded
from kafka_etl.invocation import Outputs

_ANY_PARTITION: Final = -1
_ROOM: Final = 0.05


def produce_outputs(producer: Producer, topic: str, outputs: Outputs) -> None:
    """Queue all outputs; without headers and timestamps a record costs half as much time.

    Args:
        producer: A producer with an open transaction.
        topic: Topic of outputs that name no topic.
        outputs: The outputs of a settlement, one column for each part of a record.

    Raises:
        KafkaException: The client refuses a record.
    """
    topics: Iterable[str] = repeat(topic)
    if outputs.topics is not None:
        topics = [other or topic for other in outputs.topics]
    columns: list[Iterable[Any]] = [topics, outputs.values, outputs.keys]
    more = (outputs.headers, outputs.timestamps, outputs.partitions)
    if any(column is not None for column in more):
        columns += [
            outputs.partitions or repeat(_ANY_PARTITION),
            repeat(None),  # the callback, a parameter of the client under two names
            repeat(None),
            outputs.timestamps or repeat(0),
            [headers or [] for headers in outputs.headers] if outputs.headers else repeat([]),
        ]
    _produce_rows(producer, len(outputs), columns)


def _produce_rows(producer: Producer, count: int, columns: Sequence[Iterable[Any]]) -> None:
    """Call `produce` for each row; when the client's queue is full, wait and repeat the row."""
    at = 0
    while at < count:
        done: list[None] = []
        try:
            rest = (islice(column, at, None) for column in columns) if at else columns
            done.extend(map(producer.produce, *rest))
        except BufferError:
            producer.flush(_ROOM)
        at += len(done)


Told = Callable[[KafkaError | None, Message], None]
"""Called once the brokers have a record, or have refused the record."""


def produce_record(
    producer: Producer, topic: str, partition: int, record: Encoded, told: Told | None = None
) -> None:
    """Queue one record for a partition; while the client's queue is full, wait."""
    headers: Any = record.headers  # the client accepts more types than its type hint
    while True:
        try:
            producer.produce(
                topic, record.value, record.key, partition, on_delivery=told, headers=headers
            )
            return
        except BufferError:
            producer.flush(_ROOM)
