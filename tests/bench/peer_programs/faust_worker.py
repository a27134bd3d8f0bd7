"""`json` with faust-streaming, at least once: `faust_worker.py BOOTSTRAP SOURCE GROUP SINK`."""

import sys
from typing import Any

import faust

bootstrap, source, group, sink = sys.argv[1:]

app = faust.App(
    group,
    broker=f"kafka://{bootstrap}",
    store="memory://",
    value_serializer="json",
    key_serializer="raw",
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    web_enabled=False,
)
orders = app.topic(source, value_serializer="json", key_serializer="raw")
totals = app.topic(sink, value_serializer="json", key_serializer="raw")


@app.agent(orders)
async def total(stream: Any) -> None:
    async for key, order in stream.items():
        order["total"] = order["amount"] * 1.2
        await totals.send(key=key, value=order)


faust.Worker(app, loglevel="WARNING").execute_from_commandline()
