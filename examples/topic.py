"""Puts records into a topic, and shows what is in one, where Kafka's own tools are not at hand.

    python topic.py send TOPIC FILE
    python topic.py show TOPIC

FILE holds one record a line: KEY<TAB>VALUE. The environment variable KAFKA says where Kafka is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

CLUSTER: dict[str, Any] = {"bootstrap.servers": os.environ.get("KAFKA", "localhost:9092")}
WAIT_S = 10.0


def send(topic: str, file: str) -> None:
    admin: Any = AdminClient(CLUSTER)
    if topic not in admin.list_topics(timeout=WAIT_S).topics:
        admin.create_topics([NewTopic(topic, 1)])[topic].result(WAIT_S)
    producer = Producer(CLUSTER)
    for line in Path(file).read_bytes().splitlines():
        key, _, value = line.partition(b"\t")
        producer.produce(topic, value, key)
    if left := producer.flush(WAIT_S):
        sys.exit(f"{left} records were not taken by {CLUSTER['bootstrap.servers']}")


def show(topic: str) -> None:
    for record in committed_records(topic):
        sys.stdout.write(json.dumps(as_shown(record)) + "\n")


def committed_records(topic: str) -> Iterator[Message]:
    """All records that are in the topic now, partition by partition."""
    consumer = Consumer(
        {
            **CLUSTER,
            "group.id": "topic.py",  # never committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    for partition in consumer.list_topics(topic, WAIT_S).topics[topic].partitions:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while (record := consumer.poll(WAIT_S)) and not record.error():
            yield record
    consumer.close()


def as_shown(record: Message) -> dict[str, object]:
    """Key and value; of a dead letter what failed, at which offset, and the value as it came."""
    value = (record.value() or b"null").decode()
    pairs: Any = record.headers() or []
    headers = {name: data.decode() for name, data in pairs if data}
    if "kafka_etl.condition" in headers:
        return {
            "condition": headers["kafka_etl.condition"],
            "offset": int(headers["kafka_etl.offset"]),
            "value": value,
        }
    return {"key": (record.key() or b"").decode(), "value": json.loads(value)}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", topic, file]:
            send(topic, file)
        case ["show", topic]:
            show(topic)
        case _:
            sys.exit(__doc__)
