"""Reads the records that a topic has of one day, and then ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from kafka_etl import Context

WAIT: Final = 20.0
"""Seconds that the brokers may take for an answer."""


def records_of(day: date, topic: str, kafka: str, context: Context) -> Iterator[dict[str, Any]]:
    """The JSON records whose timestamps are of a day, in UTC.

    Args:
        day: The day.
        topic: The topic.
        kafka: Bootstrap servers.
        context: Of the attempt, which may be stopped meanwhile.
    """
    begin, end = (milliseconds(day + timedelta(days=n)) for n in (0, 1))
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": context.pipeline,  # never joined: the partitions are assigned by hand
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        begins, ends = offsets_at(consumer, topic, begin), offsets_at(consumer, topic, end)
        left = {number for number, offset in begins.items() if offset < ends[number]}
        consumer.assign([TopicPartition(topic, number, begins[number]) for number in left])
        while left:
            context.check()
            for record in consumer.consume(1000, 1.0):
                number, error = record.partition() or 0, record.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
                    left.discard(number)
                elif error is not None:
                    raise KafkaException(error)
                else:
                    if begin <= record.timestamp()[1] < end:
                        yield json.loads(record.value() or b"{}")
                    if (record.offset() or 0) >= ends[number] - 1:
                        left.discard(number)
    finally:
        consumer.close()


def offsets_at(consumer: Consumer, topic: str, ms: int) -> dict[int, int]:
    """Partition -> offset of the first record from a time on, or the end of the partition."""
    listed = consumer.list_topics(topic, WAIT).topics[topic]
    if listed.error is not None:
        raise KafkaException(listed.error)
    asked = [TopicPartition(topic, number, ms) for number in listed.partitions]
    offsets: dict[int, int] = {}
    for found in consumer.offsets_for_times(asked, WAIT):
        offset = found.offset
        if offset == OFFSET_END:
            _, offset = consumer.get_watermark_offsets(found, WAIT)
        offsets[found.partition] = offset
    return offsets


def milliseconds(day: date) -> int:
    """The begin of a day, in milliseconds since the epoch."""
    return int(datetime.combine(day, time(), UTC).timestamp() * 1000)
