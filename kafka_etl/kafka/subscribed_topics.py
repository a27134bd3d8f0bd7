"""Whether the topics of a source are still there: deleting one is no error to the client.

The client keeps the partitions of a deleted topic for minutes, without a word.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaException

from kafka_etl.contracts import Deployment
from kafka_etl.errors import TopicGone
from kafka_etl.kafka import classify
from kafka_etl.kafka.settings import KafkaSourceSettings

_MOMENT: Final = 0.5
_ASK_EVERY: Final = 5.0
_GONE_FOR: Final = 10.0
"""Seconds after which a topic that no broker knows is no rumour of one that has just started."""


class SubscribedTopics:
    """The topics of one source, as the brokers know them."""

    def __init__(self, settings: KafkaSourceSettings, deployment: Deployment) -> None:
        self._known = next(iter(deployment.partitions), settings.topics[0])
        self._ask_at = 0.0
        self._gone_since: float | None = None

    @property
    def one(self) -> str:
        """A topic to ask about, where any answer will do."""
        return self._known

    def require(self, consumer: Consumer, topic: str) -> None:
        """Require the topics of a run to the end to exist, as far as brokers answer.

        Raises:
            TopicGone: No broker has known one of the topics for some seconds.
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
