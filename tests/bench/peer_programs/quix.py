"""`json` with Quix Streams, exactly once: `quix.py BOOTSTRAP SOURCE GROUP SINK`."""

import sys
from typing import Any

from quixstreams import Application

bootstrap, source, group, sink = sys.argv[1:]


def total(order: dict[str, Any]) -> dict[str, Any]:
    order["total"] = order["amount"] * 1.2
    return order


app = Application(
    broker_address=bootstrap,
    consumer_group=group,
    auto_offset_reset="earliest",
    auto_create_topics=False,
    processing_guarantee="exactly-once",
    commit_every=10_000,
    commit_interval=1.0,
    loglevel="WARNING",
    consumer_extra_config={"fetch.queue.backoff.ms": 5},
    producer_extra_config={"linger.ms": 5, "batch.size": 1_000_000, "retry.backoff.ms": 2},
)
orders = app.dataframe(app.topic(source, value_deserializer="json", key_deserializer="bytes"))
orders.apply(total).to_topic(app.topic(sink, value_serializer="json", key_serializer="bytes"))
app.run()
