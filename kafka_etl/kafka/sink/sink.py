"""The Kafka sink: outputs, dead letters and offsets in one transaction."""

from __future__ import annotations

from collections.abc import Callable

from kafka_etl.contracts import Deployment
from kafka_etl.invocation import Settlement
from kafka_etl.kafka.transactions.ledger import Ledger
from kafka_etl.kafka.transactions.produce import produce_outputs


class KafkaSink:
    """Writes outputs to topics of the pipeline's own cluster, exactly once.

    Args:
        topic: Topic of outputs that name no topic.
        deployment: The cluster and the transactional id.
    """

    def __init__(self, topic: str, deployment: Deployment) -> None:
        self._topic = topic
        self._ledger = Ledger(deployment)

    def open(self) -> None:
        """See `kafka_etl.contracts.Sink`."""
        self._ledger.open()

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.Sink`: the outputs are queued at once."""
        return self._ledger.begin(
            settlement,
            lambda producer: produce_outputs(producer, self._topic, settlement.outputs),
        )

    def close(self) -> None:
        """See `kafka_etl.contracts.Sink`."""
        self._ledger.close()
