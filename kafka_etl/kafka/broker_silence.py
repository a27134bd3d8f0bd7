"""Whether any broker answers: a client tells when it has lost the last one, and no more."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from kafka_etl.errors import BrokersUnreachable
from kafka_etl.kafka import classify
from kafka_etl.log import client_logger

NO_ANSWER: Final = "no broker answers"
_ASK_EVERY: Final = 2.0
_OUT_FOR: Final = 5.0
"""Seconds without a membership before brokers are asked: one that hangs loses no connection."""


class BrokerSilence:
    """What one client knows of its brokers.

    Attributes:
        lasts: Whether none answers.
    """

    def __init__(self) -> None:
        self.lasts = False
        self._ask_at = 0.0
        self._joined_at = monotonic()

    def on_error(self, error: KafkaError) -> None:
        """The error callback of a client that has no other use for it."""
        self.note(error)
        client_logger().error("ERROR %s", error.str())  # as the client does without a callback

    def note(self, error: KafkaError) -> None:
        """Take in what the client says in its error callback."""
        if error.name() == "_ALL_BROKERS_DOWN":
            self.lasts = True

    def over(self) -> None:
        """One has answered."""
        self.lasts = False

    def look(self, ask: Callable[[], object], *, joined: bool) -> None:
        """Ask whether it is over; while there is no sign of it, this costs nothing.

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
        """What is in the way: the brokers' silence, or the error itself.

        A producer that was idle may have heard of neither their leaving nor their return.
        """
        if self.lasts and isinstance(classify.explained(error, what), BrokersUnreachable):
            return f"{NO_ANSWER} ({what}: {error.name()})"
        return f"{what}: {classify.said(error)}"
