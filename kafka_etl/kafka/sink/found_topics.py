"""Topics that fit a pattern among the sink's `routes`: whether they exist, and what they take.

The client must never meet a topic that does not exist: the client waits 30 s for such a topic, and
then the whole transaction fails; a topic that was deleted after the client met it costs the
producer. So the cluster is asked about a topic when a record first names it, and again from time to
time. A record that names a topic which the cluster does not have becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from time import monotonic  # by name: user code may patch the module
from typing import Final

from kafka_etl.contracts import Deployment, SourceSettings, Unavailable
from kafka_etl.errors import (
    BrokersUnreachable,
    NotAuthorized,
    SinkBlocked,
    TopicNotCreated,
)
from kafka_etl.kafka.client.settings import admin_settings, producer_settings
from kafka_etl.kafka.cluster.admin import Admin, connections, reached
from kafka_etl.kafka.preflight import largest_record, wait_until_visible
from kafka_etl.kafka.settings import CreateSettings, KafkaSinkSettings
from kafka_etl.log import get_logger

_HOLDS: Final = 30.0
"""Seconds that an answer of the cluster is good for."""
_FINE: Final = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is known of a topic.

    Attributes:
        refusal: The reason why no record may go there; empty: records may.
        until: Time on the monotonic clock at which the cluster is asked again.
    """

    refusal: str
    until: float


class FoundTopics:
    """The topics by pattern that records have named lately.

    Args:
        settings: Settings of the sink.
        source: Settings of the source, whose topics must not be written.
        deployment: The cluster. Before a preflight, as in `kafka-etl try`, nothing is asked.
        size_limits: Topic -> largest record in bytes; gets the topics that are found.
        partitions: Topic -> number of partitions; gets the topics that are found.
    """

    def __init__(
        self,
        settings: KafkaSinkSettings,
        source: SourceSettings,
        deployment: Deployment,
        size_limits: dict[str, int],
        partitions: dict[str, int],
    ) -> None:
        self._settings = settings
        self._source = source
        self._deployment = deployment
        self._limits = size_limits
        self._partitions = partitions
        self._most = int(producer_settings(deployment)["message.max.bytes"])
        self._of_source = max(
            (count for name, count in partitions.items() if source.reads(name)), default=1
        )
        self._answers: dict[str, _Answer] = {}
        self._log = get_logger("sink")

    def refused(self, topics: Collection[str]) -> dict[str, str]:
        """The topics to which no record may go, each with the reason.

        Args:
            topics: Names that stand in records, which may be anything.

        Raises:
            Unavailable: The brokers do not answer.
            SinkBlocked: This user lacks a right to one of the topics.
            Abandoned: The worker must stop now.
        """
        now = monotonic()
        unknown = [
            topic
            for topic in topics
            if (answer := self._answers.get(topic)) is None or answer.until < now
        ]
        if unknown:
            self._answers = {t: known for t, known in self._answers.items() if known.until >= now}
            self._look_up(unknown)
        known = self._answers
        return {topic: known[topic].refusal for topic in topics if known[topic].refusal}

    def _look_up(self, topics: Sequence[str]) -> None:
        misfits = {topic: self._misfit(topic) for topic in topics}
        fitting = [topic for topic, refusal in misfits.items() if not refusal]
        asks = self._settings.topic in self._deployment.size_limits
        answers = {**misfits, **self._ask(fitting)} if fitting and asks else misfits
        until = monotonic() + _HOLDS
        self._answers |= {topic: _Answer(refusal, until) for topic, refusal in answers.items()}

    def _misfit(self, topic: str) -> str:
        """The reason why a name alone rules a topic out; empty: nothing does."""
        if not self._settings.fits(topic):
            routes = ", ".join(self._settings.routes)
            return f"not the sink's topic nor one of its routes ({routes})"
        if self._source.reads(topic):
            return "the source reads this topic, which would make a loop"
        if topic == self._deployment.dead_letter_topic:
            return "this is the topic of dead letters"
        return _FINE

    def _ask(self, topics: Sequence[str]) -> dict[str, str]:
        """Ask the cluster about topics; create those that are missing if the pipeline says so."""
        try:
            with connections(self._deployment.pulse):
                admin = reached(admin_settings(self._deployment))
                found = admin.topics(topics, "WRITE")
                missing = [topic for topic in topics if topic not in found]
                refused = self._supply(admin, missing)
                made = [topic for topic in missing if topic not in refused]
                if made:
                    found |= wait_until_visible(admin, made)
                settings = admin.settings_of(list(found))
        except (BrokersUnreachable, TopicNotCreated) as away:
            raise Unavailable(f"looking at topics that records name: {away.what}") from away
        except NotAuthorized as denied:
            raise SinkBlocked(
                f"a record names a topic by a pattern of `routes`: {denied.what}",
                "Grant the right, and `kafka-etl resume NAME`; or make the pattern narrower, and "
                "`kafka-etl restart NAME`: records that do not fit it become dead letters.",
            ) from denied
        self._partitions |= found
        self._limits |= {topic: min(largest_record(settings[topic]), self._most) for topic in found}
        return {**dict.fromkeys(found, _FINE), **refused}

    def _supply(self, admin: Admin, missing: Sequence[str]) -> dict[str, str]:
        """Create missing topics; those that are not created, each with the reason."""
        create = self._settings.create
        if create is None:
            advice = "create it, or let the sink: `create: {}`"
            return dict.fromkeys(
                missing, f"it fits the sink's routes, but does not exist: {advice}"
            )
        refused: dict[str, str] = {}
        started = monotonic()
        for topic in missing:
            try:
                self._create(admin, topic, create)
            except TopicNotCreated as failed:
                refused[topic] = failed.what
            if monotonic() - started > 1:
                self._deployment.pulse(f"created topic {topic}")
        return refused

    def _create(self, admin: Admin, topic: str, create: CreateSettings) -> None:
        partitions = create.partitions or self._of_source
        admin.create_topic(topic, partitions, create.replication_factor, create.config)
        self._log.info("created a topic that a record names", topic=topic, partitions=partitions)
