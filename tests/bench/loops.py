"""The loops one would write by hand: what every scenario is measured against.

Run as a program of its own: `loops.py NAME BOOTSTRAP SOURCE GROUP SINK… RECORDS SIZE WAIT`. They
are as fast as we could write them over the same client, and as exactly-once as ours; what they
leave out is what a framework is for: retries, bad operators, rebalances, a broker that goes away.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

import msgspec
import orjson
from confluent_kafka import Consumer, Message, Producer, TopicPartition

Produce = Callable[..., None]
Offsets = dict[int, int]
Batch = Callable[[list[Message], Produce, list[str]], Offsets]

loads, dumps = orjson.loads, orjson.dumps


class Order(msgspec.Struct):
    id: int
    amount: float
    currency: str
    pad: str
    total: float | None = None


decode = msgspec.json.Decoder(Order).decode
encode = msgspec.json.Encoder().encode


def json(messages: list[Message], produce: Produce, sinks: list[str]) -> Offsets:
    sink, offsets = sinks[0], {}
    for message in messages:
        if message.error():
            continue
        order = loads(message.value())
        order["total"] = order["amount"] * 1.2
        produce(sink, dumps(order), message.key())
        offsets[message.partition()] = message.offset() + 1
    return offsets


def chain(messages: list[Message], produce: Produce, sinks: list[str]) -> Offsets:
    (sink, other), offsets = sinks[:2], {}
    for message in messages:
        if message.error():
            continue
        offsets[message.partition()] = message.offset() + 1
        order = loads(message.value())
        if order["amount"] < 50:
            continue
        order["total"] = order["amount"] * 1.2
        order["large"] = order["amount"] > 75
        topic = other if order["currency"] == "EUR" else sink
        produce(topic, dumps(order), message.key())
    return offsets


def raw(messages: list[Message], produce: Produce, sinks: list[str]) -> Offsets:
    sink, offsets = sinks[0], {}
    for message in messages:
        if message.error():
            continue
        produce(sink, message.value(), message.key())
        offsets[message.partition()] = message.offset() + 1
    return offsets


def record(messages: list[Message], produce: Produce, sinks: list[str]) -> Offsets:
    sink, offsets = sinks[0], {}
    for message in messages:
        if message.error():
            continue
        order = loads(message.value())
        headers = [*(message.headers() or []), ("seen", b"1")]
        produce(sink, dumps(order), message.key(), headers=headers)
        offsets[message.partition()] = message.offset() + 1
    return offsets


def headers(messages: list[Message], produce: Produce, sinks: list[str]) -> Offsets:
    sink, offsets = sinks[0], {}
    for message in messages:
        if message.error():
            continue
        order = loads(message.value())
        order["total"] = order["amount"] * 1.2
        produce(sink, dumps(order), message.key(), headers=message.headers())
        offsets[message.partition()] = message.offset() + 1
    return offsets


def bad(messages: list[Message], produce: Produce, sinks: list[str]) -> Offsets:
    (sink, letters), offsets = sinks[:2], {}
    for message in messages:
        if message.error():
            continue
        offsets[message.partition()] = message.offset() + 1
        try:
            order = loads(message.value())
            if order["amount"] < 0:
                raise ValueError("negative amount")
            order["total"] = order["amount"] * 1.2
            produce(sink, dumps(order), message.key())
        except ValueError as error:
            context = {
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
                "error": {"type": type(error).__name__, "message": str(error)},
                "at": time.time(),
            }
            produce(letters, message.value(), message.key(), headers=[("context", dumps(context))])
    return offsets


BATCHES: dict[str, Batch] = {
    "json": json,
    "chain": chain,
    "raw": raw,
    "record": record,
    "headers": headers,
    "bad": bad,
}


def run(
    batch: Batch,
    bootstrap: str,
    source: str,
    group: str,
    sinks: list[str],
    *,
    records: int,
    size: int,
    wait: float,
) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": group,
            "linger.ms": 5,
            "batch.size": 1_000_000,
        }
    )
    producer.init_transactions()
    consumer.subscribe([source])
    done = 0
    while done < records:
        messages = consumer.consume(size, wait)
        if not messages:
            continue
        producer.begin_transaction()
        offsets = batch(messages, producer.produce, sinks)
        producer.send_offsets_to_transaction(
            [TopicPartition(source, number, offset) for number, offset in offsets.items()],
            consumer.consumer_group_metadata(),
        )
        producer.commit_transaction()
        done += len(messages)
    consumer.close()


def main(arguments: Iterable[str]) -> None:
    name, bootstrap, source, group, *sinks, records, size, wait = arguments
    run(
        BATCHES[name],
        bootstrap,
        source,
        group,
        sinks,
        records=int(records),
        size=int(size),
        wait=float(wait),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
