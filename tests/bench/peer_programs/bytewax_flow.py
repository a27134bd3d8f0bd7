"""`json` with Bytewax, at least once: `bytewax_flow.py BOOTSTRAP SOURCE GROUP SINK`."""

import sys

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

bootstrap, source, _group, sink = sys.argv[1:]
Made = KafkaSinkMessage[bytes | None, bytes]


def total(order: KafkaSourceMessage[bytes, bytes]) -> Made:
    value = orjson.loads(order.value)
    value["total"] = value["amount"] * 1.2
    return KafkaSinkMessage(order.key, orjson.dumps(value))


flow = Dataflow("peer")
orders = kafka.input(
    "orders",
    flow,
    brokers=[bootstrap],
    topics=[source],
    batch_size=10_000,
    add_config={"fetch.queue.backoff.ms": "5"},
)
kafka.output(
    "out",
    op.map("total", orders.oks, total),
    brokers=[bootstrap],
    topic=sink,
    add_config={"linger.ms": "5", "batch.size": "1000000"},
)
run_main(flow)
