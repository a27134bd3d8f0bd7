"""Writes what attempts print to the topic of logs, in nobody's way: what has no room is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.settings import make_client
from kafka_etl.log import get_logger
from kafka_etl.tasks.keeping import Logged
from kafka_etl.tasks.log_records import Piece, headers_of_piece, partition_of_token

_COMPLAIN_EVERY: Final = 60.0
_UNSENT_KIB: Final = 32 * 1024


class LogRelay:
    """See `kafka_etl.engine.tasks.executors.LogWriter`.

    Args:
        settings: Settings of producers.
        topic: The topic of logs.
        partitions: Number of its partitions.
    """

    def __init__(self, settings: Mapping[str, Any], topic: str, partitions: int) -> None:
        config = {
            "compression.type": "lz4",
            **settings,
            "enable.idempotence": True,  # for the order of the pieces
            "linger.ms": 50,
            "message.timeout.ms": 60_000,
            "queue.buffering.max.kbytes": _UNSENT_KIB,
        }
        self._producer = make_client(Producer, config)
        self._topic = topic
        self._partitions = partitions
        self._dropped = 0
        self._reason = ""
        self._complained_at = -_COMPLAIN_EVERY
        self._log = get_logger("owner")

    def write(self, piece: Logged) -> None:
        headers: Any = headers_of_piece(
            Piece(piece.task, piece.attempt, piece.seq, piece.stream, piece.at_ms, piece.data)
        )
        number = partition_of_token(piece.token, self._partitions)
        try:
            self._producer.produce(
                self._topic,
                piece.data,
                piece.token.encode(),
                number,
                on_delivery=self._told,
                headers=headers,
            )
        except BufferError:
            self._drop("the client's queue is full")
        except KafkaException as raised:
            self._drop(classify.said(classify.error_of(raised)))

    def poll(self) -> None:
        self._producer.poll(0)
        if self._dropped and monotonic() - self._complained_at >= _COMPLAIN_EVERY:
            self._complained_at = monotonic()
            said = "pieces of task logs were not written"
            self._log.warning(said, topic=self._topic, pieces=self._dropped, error=self._reason)
            self._dropped = 0

    def close(self) -> None:
        self._producer.flush(2.0)

    def _told(self, error: KafkaError | None, _record: Message) -> None:
        if error is not None:
            self._drop(classify.said(error))

    def _drop(self, reason: str) -> None:
        self._dropped += 1
        self._reason = reason
