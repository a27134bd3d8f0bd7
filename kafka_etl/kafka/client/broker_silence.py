"""Whether any broker answers: a client reports the loss of its last broker, and not its return."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from kafka_etl.client_log import client_logger
from kafka_etl.errors import BrokersUnreachable
from kafka_etl.kafka.client import classify

NO_ANSWER: Final = "no broker answers"
_ASK_EVERY: Final = 2.0
_OUT_FOR: Final = 5.0
"""Seconds outside the group before brokers are asked: a broker that hangs closes no connection."""


class BrokerSilence:
    """The knowledge of one client about its brokers.

    Attributes:
        lasts: Whether no broker answers.
    """

    def __init__(self) -> None:
        self.lasts = False
        self._ask_at = 0.0
        self._joined_at = monotonic()

    def on_error(self, error: KafkaError) -> None:
        """Take in and log an error: the error callback of a client that needs no other."""
        self.note(error)
        client_logger().error("ERROR %s", error.str())  # as the client does without a callback

    def note(self, error: KafkaError) -> None:
        """Take in an error that the client passed to its error callback."""
        if error.name() == "_ALL_BROKERS_DOWN":
            self.lasts = True

    def over(self) -> None:
        """Take in that a broker has answered."""
        self.lasts = False

    def look(self, ask: Callable[[], object], *, joined: bool) -> None:
        """Ask the brokers whether the silence is over, if there is any sign of a silence.

        Args:
            ask: Raises KafkaException when no broker answers within a moment.
            joined: Whether the client is a member of its group.
        """
        now = monotonic()
        if joined:
            self._joined_at = now
        doubtful = self.lasts or now - self._joined_at > _OUT_FOR
        if not doubtful or now < self._ask_at:
            return
        self._ask_at = now + _ASK_EVERY
        try:
            ask()
        except KafkaException:
            self.lasts = True
        else:
            self.lasts = False

    def explain(self, what: str, error: KafkaError) -> str:
        """Describe a failed call: by the brokers' silence, or by the error itself.

        An idle producer may have noticed neither the loss of the brokers nor their return.
        """
        if self.lasts and isinstance(classify.explained(error, what), BrokersUnreachable):
            return f"{NO_ANSWER} ({what}: {error.name()})"
        return f"{what}: {classify.said(error)}"
