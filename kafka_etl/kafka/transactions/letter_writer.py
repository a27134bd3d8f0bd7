"""Writes dead letters into a topic as they were: all of them in one transaction, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from kafka_etl.envelope import Encoded
from kafka_etl.errors import StatusesTaken
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.settings import make_client
from kafka_etl.kafka.transactions.produce import produce_record

_REQUEST: Final = 30.0
_COMMIT: Final = 120.0
_LONGEST_MS: Final = 900_000
"""The brokers' usual limit of a transaction's time."""


def write_letters(
    settings: Mapping[str, Any], topic: str, limit: int, letters: Iterable[tuple[int, Encoded]]
) -> int:
    """Write (partition, letter) pairs in one transaction; return their number.

    Whatever `letters` raises ends the transaction, and nothing is written.

    Args:
        settings: Settings of the client.
        topic: Topic of the letters.
        limit: Bytes of the largest record that the topic takes.
        letters: Partition of each letter, and the letter.

    Raises:
        StatusesTaken: Another import into the topic has begun.
        KafkaEtlError: A broker refuses a letter or the transaction, or none answers.
    """
    config = {
        "linger.ms": 5,
        "message.max.bytes": max(1_000_000, limit),
        "transaction.timeout.ms": _LONGEST_MS,
        **settings,
        "transactional.id": f"kafka-etl.dlq.import.{topic}",
        "delivery.report.only.error": True,
    }
    producer = make_client(Producer, config)
    count = 0
    try:
        producer.init_transactions(_REQUEST)
        producer.begin_transaction()
        try:
            for partition, letter in letters:
                produce_record(producer, topic, partition, letter)
                count += 1
            producer.commit_transaction(_COMMIT)
        except BaseException:
            producer.abort_transaction(_REQUEST)
            raise
    except KafkaException as raised:
        error = classify.error_of(raised)
        what = f"writing letter {count + 1:,} to {topic}"
        if classify.fenced(error):
            raise StatusesTaken(f"{what}: another import has begun meanwhile") from raised
        raise classify.explained(error, what) from raised
    return count
