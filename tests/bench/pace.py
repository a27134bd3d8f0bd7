"""What writes and reads while latency is measured, each a process of its own.

    pace.py write BOOTSTRAP TOPIC RATE SECONDS
    pace.py read BOOTSTRAP TOPIC PARTITIONS COUNT FILE

In one process they would wait for each other's interpreter lock, and be measured with what they
measure. One machine, one clock: a record carries the moment before it was produced.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

KEYS = 500
PAD = "x" * 56
PATIENCE = 60.0


def write(bootstrap: str, topic: str, rate: int, seconds: float) -> None:
    """One record at a time, each when it is due; sent with those of the same millisecond.

    Without that it is the broker that is measured: two thousand requests a second.
    """
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
    producer.list_topics(topic, 10)  # connected
    began = time.time()
    for number in range(int(rate * seconds)):
        while (early := began + number / rate - time.time()) > 0:
            producer.poll(0)
            time.sleep(early)
        value = {"id": number, "amount": 1.0, "at": time.time(), "pad": PAD}
        producer.produce(topic, orjson.dumps(value), b"k%d" % (number % KEYS))
    producer.flush(10)


def read(bootstrap: str, topic: str, partitions: int, count: int, file: Path) -> None:
    """Until so many have been read, or none comes; keeps (id, sent at, read at)."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found: list[tuple[int, float, float]] = []
    while len(found) < count:
        record = consumer.poll(PATIENCE)
        if record is None:
            break
        if not record.error():
            now = time.time()
            value = orjson.loads(record.value() or b"")
            if value["at"]:  # not of those that only woke the pipeline
                found.append((value["id"], value["at"], now))
    file.write_bytes(orjson.dumps(found))
    consumer.close()


def main(arguments: list[str]) -> None:
    match arguments:
        case ["write", bootstrap, topic, rate, seconds]:
            write(bootstrap, topic, int(rate), float(seconds))
        case ["read", bootstrap, topic, partitions, count, file]:
            read(bootstrap, topic, int(partitions), int(count), Path(file))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
