"""Whether the topics of a source still exist.

The client reports no error when a topic is deleted, and keeps the partitions of that topic for
minutes.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaException

from kafka_etl.contracts import Deployment
from kafka_etl.errors import TopicGone
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.settings import KafkaSourceSettings

_MOMENT: Final = 0.5
_ASK_EVERY: Final = 5.0
_GONE_FOR: Final = 10.0
"""Seconds without the topic in any answer, after which the topic counts as deleted.

A broker that has just started may not know every topic yet.
"""


class SubscribedTopics:
    """The topics of one source, and the brokers' knowledge about them."""

    def __init__(self, settings: KafkaSourceSettings, deployment: Deployment) -> None:
        self._known = next(iter(deployment.partitions), settings.topics[0])
        self._ask_at = 0.0
        self._gone_since: float | None = None

    @property
    def one(self) -> str:
        """Name of a topic for a request whose only purpose is an answer of some broker."""
        return self._known

    def require(self, consumer: Consumer, topic: str) -> None:
        """Require a topic of a run to the end to exist, as far as brokers answer.

        Asks the brokers every 5 s at most; other calls return at once.

        Raises:
            TopicGone: For 10 s no answer of a broker has named the topic.
        """
        now = monotonic()
        if now < self._ask_at:
            return
        self._ask_at = now + _ASK_EVERY
        try:
            found = consumer.list_topics(topic, _MOMENT).topics.get(topic)
        except KafkaException:
            return
        if found is not None and (found.error is None or not classify.missing(found.error)):
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        elif now - self._gone_since >= _GONE_FOR:
            raise TopicGone(f"topic {topic}, which is to be read to its end, is not there any more")
