"""Which topics a source reads: preflight and the client must be of one mind."""

from __future__ import annotations

import time

from confluent_kafka import Consumer

from kafka_etl.contracts import Deployment
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.cluster.admin import connections
from kafka_etl.kafka.preflight import check_source
from kafka_etl.kafka.settings import KafkaSourceSettings
from tests.kit.kafka import Kafka

NAMES = ["orders-1", "orders-22", "orders-x", "orders.3", "orders_4", "Orders-5", "my-orders-6"]
PATTERNS = [
    "^{p}orders-[0-9]+$",
    "^{p}orders-.*",
    r"^{p}orders\.[0-9]",
    "^{p}(orders|Orders)[-_][0-9]{{1,2}}$",
    "^{p}[^o].*orders-[0-9]?$",
    "^{p}orders(-[0-9])+|{p}my-orders",
    "^{p}orders-[a-z]|^{p}orders_",
    "^{p}o",
]


def nobody(_what: str) -> None:
    """A pulse that nobody feels."""


def deployment(kafka: Kafka, name: str) -> Deployment:
    about = Provenance(name, "", name, name, "host", 1, "0", "3", {})
    return Deployment(name, name, kafka.client, {}, {}, about)


def test_preflight_and_the_client_find_the_same_topics(kafka: Kafka) -> None:
    prefix = f"{kafka.name()}-"
    for name in NAMES:
        kafka.topic(1, prefix + name)
    patterns = [pattern.format(p=prefix) for pattern in PATTERNS]
    found: dict[str, set[str]] = {}
    readers: dict[str, Consumer] = {}
    for pattern in patterns:
        group = kafka.name()
        settings = KafkaSourceSettings(topics=(pattern,))
        with connections(nobody):
            found[pattern] = set(check_source(settings, deployment(kafka, group)).partitions)
        readers[pattern] = Consumer({**kafka.client, "group.id": group})
        readers[pattern].subscribe([pattern])
    assigned: dict[str, set[str]] = {}
    deadline = time.monotonic() + 30
    while assigned != found and time.monotonic() < deadline:
        for pattern, reader in readers.items():
            reader.poll(0.02)
            assigned[pattern] = {partition.topic for partition in reader.assignment()}
    for reader in readers.values():
        reader.close()
    assert assigned == found
    assert all(found.values())
