"""Topics by hand, for the demo: make one, write records, look at what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from kafka_etl.kafka.admin import Admin
from kafka_etl.log import client_logger

Settings = Mapping[str, Any]


def create_topic(settings: Settings, name: str, partitions: int) -> None:
    Admin(settings).create_topic(name, partitions, None, {})


def write(settings: Settings, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Write (key, value) pairs, and wait until the broker has them."""
    config = {**settings, "linger.ms": 5, "partitioner": "murmur2_random"}
    producer = Producer(config, logger=client_logger())
    for key, value in records:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.flush(1)
            producer.produce(topic, value, key)
    producer.flush(60)


def read(settings: Settings, topic: str) -> Iterator[Message]:
    """Every committed record of a topic, from the beginning to its present end."""
    consumer = Consumer(
        {
            **settings,
            "group.id": "kafka-etl-reader",  # it never joins, and commits nothing
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        },
        logger=client_logger(),
    )
    count = Admin(settings).topics([topic], "READ")[topic]
    consumer.assign([TopicPartition(topic, number, 0) for number in range(count)])
    unfinished = set(range(count))
    try:
        while unfinished:
            for message in consumer.consume(10_000, 1.0):
                error = message.error()
                if error is None:
                    yield message
                elif error.name() == "_PARTITION_EOF":
                    unfinished.discard(message.partition() or 0)
    finally:
        consumer.close()
