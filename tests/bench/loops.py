"""The loops one would write by hand: what every scenario is measured against.

Run as a program of its own: `loops.py NAME BOOTSTRAP SOURCE GROUP SINK… RECORDS SIZE WAIT`. They
are as fast as we could write them over the same client, and as exactly-once as ours; what they
leave out is what a framework is for: retries, bad operators, rebalances, a broker that goes away.

`untuned-NAME` is without what only those know who have measured: no garbage collection while a
batch is in hand, and a glibc that keeps memory (`ALLOCATOR`, in the environment at the start).
"""

from __future__ import annotations

import asyncio
import gc
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import orjson
from confluent_kafka import Consumer, Message, Producer, TopicPartition

Produce = Callable[..., None]
Batch = Callable[[list[Message], Produce, list[str]], None]

ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(2**27), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
UNTUNED = "untuned-"
PAUSE = 0.005  # seconds a record waits for something, in `threads` and `tasks`

loads, dumps = orjson.loads, orjson.dumps


class Order(msgspec.Struct):
    id: int
    amount: float
    currency: str
    pad: str
    total: float | None = None


decode = msgspec.json.Decoder(Order).decode
encode = msgspec.json.Encoder().encode


def json(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
    sink = sinks[0]
    for message in messages:
        order = loads(message.value())
        order["total"] = order["amount"] * 1.2
        produce(sink, dumps(order), message.key())


def typed(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
    sink = sinks[0]
    for message in messages:
        order = decode(message.value())
        order.total = order.amount * 1.2
        produce(sink, encode(order), message.key())


def chain(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
    sink, other = sinks[:2]
    for message in messages:
        order = loads(message.value())
        if order["amount"] < 50:
            continue
        order["total"] = order["amount"] * 1.2
        order["large"] = order["amount"] > 75
        topic = other if order["currency"] == "EUR" else sink
        produce(topic, dumps(order), message.key())


def raw(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
    sink = sinks[0]
    for message in messages:
        produce(sink, message.value(), message.key())


def record(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
    sink = sinks[0]
    for message in messages:
        order = loads(message.value())
        headers = [*(message.headers() or []), ("seen", b"1")]
        produce(sink, dumps(order), message.key(), headers=headers)


def headers(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
    sink = sinks[0]
    for message in messages:
        order = loads(message.value())
        order["total"] = order["amount"] * 1.2
        produce(sink, dumps(order), message.key(), headers=message.headers())


def bad(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
    sink, letters = sinks[:2]
    for message in messages:
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


AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "amount", "type": "double"},
        {"name": "currency", "type": "string"},
        {"name": "pad", "type": "string"},
        {"name": "total", "type": ["null", "double"], "default": None},
    ],
}
"""One schema for both sides: the loop fills in `total`."""

WIDE: dict[str, Any] = {
    **AVRO,
    "name": "WideOrder",
    "fields": [
        *AVRO["fields"][:-1],
        *({"name": f"number_{n}", "type": "long"} for n in range(5)),
        *({"name": f"share_{n}", "type": "double"} for n in range(5)),
        *({"name": f"text_{n}", "type": ["null", "string"], "default": None} for n in range(5)),
        AVRO["fields"][-1],
    ],
}
"""Twenty fields, as records of grown systems have them."""
SCHEMAS = {"avro": AVRO, "avro_wide": WIDE}


def avro(name: str) -> Batch:
    """Confluent's wire format: a zero, the schema's id in four bytes, the record."""
    import fastavro  # noqa: PLC0415 - of this loop alone

    schema = fastavro.parse_schema(SCHEMAS[name])
    read, write = fastavro.schemaless_reader, fastavro.schemaless_writer

    def batch(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
        sink = sinks[0]
        for message in messages:
            value = message.value() or b""
            fields = io.BytesIO(value)
            fields.seek(5)
            order = read(fields, schema, None)
            order["total"] = order["amount"] * 1.2
            out = io.BytesIO(value[:5])
            out.seek(5)
            write(out, schema, order)
            produce(sink, out.getvalue(), message.key())

    return batch


def columnar_json(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
    sink = sinks[0]
    for message in messages:
        order = loads(message.value())
        twenty_expressions(order)
        produce(sink, dumps(order), message.key())


def twenty_expressions(order: dict[str, Any]) -> None:
    """Cheap ones, of the kind that a pipeline has many of."""
    number, amount, currency = order["id"], order["amount"], order["currency"]
    order["total"] = total = amount * 1.2
    order["tax"] = total - amount
    order["cents"] = int(amount * 100)
    order["half"] = amount / 2
    order["square"] = amount * amount
    order["rounded"] = amount // 10 * 10
    order["rest"] = amount % 10
    order["shifted"] = amount - 50
    order["capped"] = min(amount, 75.0)
    order["at_least"] = max(amount, 25.0)
    order["large"] = amount > 75
    order["small"] = amount <= 10
    order["between"] = 25 <= amount < 75
    order["euro"] = currency == "EUR"
    order["known"] = currency in {"EUR", "USD"}
    order["lower"] = currency.lower()
    order["label"] = currency + "-order"
    order["letters"] = len(order["pad"])
    order["even"] = number % 2 == 0
    order["bucket"] = number % 16


def threads(count: int) -> Batch:
    """Something that blocks, `count` at a time; records of one key one after the other."""
    pool = ThreadPoolExecutor(count)

    def batch(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
        lanes, orders = _lanes(messages)

        def work(_number: int) -> None:
            for lane in lanes:  # which the threads share: each takes the next
                for at in lane:
                    order = loads(messages[at].value() or b"")
                    time.sleep(PAUSE)
                    order["total"] = order["amount"] * 1.2
                    orders[at] = dumps(order)

        list(pool.map(work, range(count)))
        for message, order in zip(messages, orders, strict=True):
            produce(sinks[0], order, message.key())

    return batch


def tasks(count: int) -> Batch:
    """The same with asyncio."""
    asyncio_loop = asyncio.new_event_loop()

    def batch(messages: list[Message], produce: Produce, sinks: list[str]) -> None:
        lanes, orders = _lanes(messages)

        async def work() -> None:
            for lane in lanes:
                for at in lane:
                    order = loads(messages[at].value() or b"")
                    await asyncio.sleep(PAUSE)
                    order["total"] = order["amount"] * 1.2
                    orders[at] = dumps(order)

        async def all_of_it() -> None:
            await asyncio.gather(*(work() for _ in range(count)))

        asyncio_loop.run_until_complete(all_of_it())
        for message, order in zip(messages, orders, strict=True):
            produce(sinks[0], order, message.key())

    return batch


def _lanes(messages: list[Message]) -> tuple[Iterator[list[int]], list[bytes]]:
    """Where the records of each key stand, and as many places for what becomes of them."""
    lanes: dict[bytes | None, list[int]] = {}
    for at, message in enumerate(messages):
        lanes.setdefault(message.key(), []).append(at)
    return iter(lanes.values()), [b""] * len(messages)


BATCHES: dict[str, Batch] = {
    "json": json,
    "typed": typed,
    "chain": chain,
    "raw": raw,
    "record": record,
    "headers": headers,
    "bad": bad,
    "columnar_json": columnar_json,
}
MADE: dict[str, Callable[[int], Batch]] = {
    "threads": threads,
    "tasks": tasks,
    "avro": lambda _count: avro("avro"),
    "avro_wide": lambda _count: avro("avro_wide"),
}


def batch_of(name: str) -> Batch:
    """`json`; `threads-16` is made for sixteen."""
    if name in BATCHES:
        return BATCHES[name]
    kind, _, count = name.partition("-")
    return MADE[kind](int(count or 1))


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
            "partition.assignment.strategy": "cooperative-sticky",
            "fetch.queue.backoff.ms": 5,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"{group}-{os.getpid()}",
            "linger.ms": 5,
            "batch.size": 1_000_000,
            "retry.backoff.ms": 2,  # transactions back to back are refused for a moment
        }
    )
    producer.init_transactions()
    consumer.subscribe([source])
    done = 0
    while done < records:
        messages = [m for m in consumer.consume(size, wait) if not m.error()]
        if not messages:
            continue
        producer.begin_transaction()
        batch(messages, producer.produce, sinks)
        last = {message.partition(): message for message in messages}
        producer.send_offsets_to_transaction(
            [TopicPartition(source, number, m.offset() + 1) for number, m in last.items()],
            consumer.consumer_group_metadata(),
        )
        producer.commit_transaction()
        done += len(messages)
    consumer.close()


def main(arguments: Iterable[str]) -> None:
    name, bootstrap, source, group, *sinks, records, size, wait = arguments
    if not name.startswith(UNTUNED):
        gc.collect()
        gc.freeze()
        gc.set_threshold(20 * int(size))
    run(
        batch_of(name.removeprefix(UNTUNED)),
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
