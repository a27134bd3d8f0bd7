"""`json` with sentry-arroyo, at least once: `arroyo_consumer.py BOOTSTRAP SOURCE GROUP SINK`."""

import sys
from collections.abc import Mapping

import orjson
from arroyo import Topic
from arroyo.backends.kafka import KafkaConsumer, KafkaPayload, KafkaProducer
from arroyo.commit import CommitPolicy
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, Produce, RunTask
from arroyo.processing.strategies.abstract import ProcessingStrategyFactory
from arroyo.types import Commit, Message, Partition

bootstrap, source, group, sink = sys.argv[1:]
_EVERY_SECOND = CommitPolicy(1.0, 10_000)


def total(order: Message[KafkaPayload]) -> KafkaPayload:
    value = orjson.loads(order.payload.value)
    value["total"] = value["amount"] * 1.2
    return KafkaPayload(order.payload.key, orjson.dumps(value), [])


class Factory(ProcessingStrategyFactory[KafkaPayload]):
    def create_with_partitions(
        self, commit: Commit, _partitions: Mapping[Partition, int]
    ) -> RunTask[KafkaPayload, KafkaPayload]:
        return RunTask(total, Produce(PRODUCER, Topic(sink), CommitOffsets(commit)))


PRODUCER = KafkaProducer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.size": 1_000_000})
CONSUMER = KafkaConsumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "fetch.queue.backoff.ms": 5,
    }
)
StreamProcessor(CONSUMER, Topic(source), Factory(), _EVERY_SECOND).run()
