"""Whether the topics that a transaction writes exist.

The client waits without an end for a topic that was deleted, and everything else in the transaction
waits with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic, sleep
from typing import Final

from confluent_kafka import KafkaException, Producer

from kafka_etl.kafka.client import classify

_KNOWN_FOR: Final = 5.0
_REQUEST: Final = 2.0
_TRIES: Final = 3
_CREATED_WITHIN: Final = 0.3
_NO_NAME: Final = "TOPIC_EXCEPTION"
"""The client's name for a name that no topic can have."""


class NoSuchTopic(Exception):
    """Raised for a topic that does not exist: the target refuses the records for it."""


class Destinations:
    """The topics that a producer has found."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def require(self, producer: Producer, topics: Iterable[str]) -> None:
        """Check that topics exist, with one short request for each, every few seconds.

        Raises:
            NoSuchTopic: A topic does not exist.
        """
        now = monotonic()
        for topic in topics:
            if now - self._seen.get(topic, -_KNOWN_FOR) < _KNOWN_FOR:
                continue
            self._seen.pop(topic, None)
            if _is_missing(producer, topic):
                raise NoSuchTopic(f"topic {topic} does not exist")
            self._seen[topic] = now


def _is_missing(producer: Producer, topic: str) -> bool:
    """Whether a topic does not exist, and no broker makes it on its first use."""
    for again in range(_TRIES):
        try:
            error = producer.list_topics(topic, _REQUEST).topics[topic].error
        except (KafkaException, KeyError):
            return False  # no broker answers: the commit tells
        if error is None or not (classify.missing(error) or error.name() == _NO_NAME):
            return False
        sleep(_CREATED_WITHIN if again < _TRIES - 1 else 0)
    return True
