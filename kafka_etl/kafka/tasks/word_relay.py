"""Writes words to the inbox outside of any transaction: they may come twice, and are taken once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from secrets import token_hex
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from kafka_etl.envelope import Encoded
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.broker_clock import BrokerClock
from kafka_etl.kafka.client.settings import make_client
from kafka_etl.log import get_logger
from kafka_etl.tasks.keeping import Acknowledged, Said
from kafka_etl.tasks.words import Probe, encode_word

_TOLD_WITHIN: Final = 5.0
"""Seconds to wait for the time; without, the host's clock counts until a word is acknowledged."""

_AGAIN_AFTER: Final = 10.0
"""Seconds after which a last word is written again that Kafka has not taken in two minutes."""


class WordRelay:
    """See `kafka_etl.runtime.tasks.relaying.Relay`.

    A last word that Kafka does not take is written again and again: its keeper, which keeps it
    until Kafka has acknowledged it, says it once more only to another owner.

    Args:
        settings: Settings of producers.
        inbox: Topic of the words.
        clock: Is told the time by each word that Kafka has taken.
        largest: Bytes of the largest word.
    """

    def __init__(
        self, settings: Mapping[str, Any], inbox: str, clock: BrokerClock, largest: int = 0
    ) -> None:
        config = {
            **settings,
            # A word that is larger than the user allows could not be written, and not be left out.
            "message.max.bytes": max(1_000_000, largest, int(settings.get("message.max.bytes", 0))),
            "enable.idempotence": True,
            "linger.ms": 1,
            "message.timeout.ms": 120_000,
        }
        self._producer = make_client(Producer, config)
        self._inbox = inbox
        self._clock = clock
        self._acknowledged: deque[Acknowledged] = deque()
        self._again: deque[tuple[float, Said]] = deque()
        self._log = get_logger("owner")

    def ask_the_time(self) -> None:
        """Have a broker tell the time: wait until Kafka has taken a word, for a moment at most."""
        probe = encode_word(Probe(word=token_hex(8)))
        self.write(Said(0, "probe", probe.value, probe.headers))
        self._producer.flush(_TOLD_WITHIN)

    def write(self, said: Said) -> None:
        """Queue a word."""
        record = Encoded(said.key.encode(), said.value, said.headers)
        headers: Any = record.headers  # the client accepts more types than its type hint
        waits = bool(said.last or said.number)
        done = Acknowledged(said.last, said.partition, said.number) if waits else None
        told = partial(self._told, said, done)
        while True:
            try:
                self._producer.produce(
                    self._inbox,
                    record.value,
                    record.key,
                    said.partition,
                    on_delivery=told,
                    headers=headers,
                )
                return
            except BufferError:
                self._producer.poll(0.05)

    def _told(
        self, said: Said, done: Acknowledged | None, error: KafkaError | None, record: Message
    ) -> None:
        if error is not None:
            self._log.warning("a word was not written", error=classify.said(error))
            if said.last:
                self._again.append((monotonic() + _AGAIN_AFTER, said))
            return
        self._clock.told(record)
        if done is not None:
            self._acknowledged.append(done)

    def acknowledged(self) -> list[Acknowledged]:
        self._producer.poll(0)
        while self._again and self._again[0][0] <= monotonic():
            self.write(self._again.popleft()[1])
        # Another thread may append meanwhile: whoever writes may be told as well.
        return [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]

    @property
    def is_busy(self) -> bool:
        return len(self._producer) > 0

    def close(self) -> None:
        """Wait a moment for words on their way; the keeper has those that are lost."""
        self._producer.flush(2.0)
