"""What is on its way to destinations outside of the cluster: records of a topic for each of them.

The owner writes them in the transaction in which a task becomes `Delivering`. A stream pipeline
reads the topic and writes to the destination. In the transaction that moves its offsets the
pipeline says, by words in the inbox, which tasks the destination has, and which it has refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kafka_etl.invocation import DeadLetter, Failure
from kafka_etl.record import (
    Headers,
    Offsets,
    Partition,
    SourceRecord,
    headers_of,
    offset_of,
    partition_of,
)
from kafka_etl.tasks import words as w
from kafka_etl.tasks.input_record import InputRecord
from kafka_etl.tasks.keeping import TaskRecord

HEADER: Final = "kafka-etl.delivery"
_WHY: Final = 500
"""Characters of a refusal that the head of a task holds."""


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """What the header of a record on its way says.

    Attributes:
        number: Number of the delivery among those of the task.
        row: Number of the record among those of the task for this destination, from 0.
        rows: Their number.
        input: The task's input; without its value where the destination has no use for it.
    """

    task: str
    generation: int
    number: int
    destination: str
    row: int
    rows: int
    input: TaskRecord

    @property
    def is_last(self) -> bool:
        """Whether the destination has everything once it has this record."""
        return self.row == self.rows - 1

    @property
    def done(self) -> w.Delivered:
        """The word that the destination has everything."""
        return w.Delivered(
            destination=self.destination, generation=self.generation, delivery=self.number
        )

    def refused(self, why: str) -> w.Undeliverable:
        """The word that the destination refuses for good."""
        return w.Undeliverable(
            destination=self.destination,
            generation=self.generation,
            delivery=self.number,
            why=why,
        )


class Notice(msgspec.Struct, frozen=True):
    """A task that has ended without success, as the value of a record on its way."""

    task: str
    input: TaskRecord
    failure: Failure
    at_ms: int

    @property
    def letter(self) -> DeadLetter:
        """The dead letter that the destination gets."""
        return DeadLetter(InputRecord(self.input), self.failure, self.task, self.at_ms)


def encode_delivery(delivery: Delivery) -> bytes:
    """The value of the header."""
    return _encode(delivery)


def delivery_of(headers: Headers) -> Delivery:
    """What the header of a record on its way says.

    Raises:
        ValueError: There is no such header.
    """
    for name, value in headers:
        if name == HEADER:
            return _decode(value or b"")
    raise ValueError(f"there is no header {HEADER}")


def without_header(headers: Headers) -> Headers:
    """The headers that the destination gets."""
    return [(name, value) for name, value in headers if name != HEADER]


def encode_notice(notice: Notice) -> bytes:
    """The value of a record on its way."""
    return _encode(notice)


def decode_notice(value: bytes) -> Notice:
    """A notice from the value of a record.

    Raises:
        ValueError: The value is no notice.
    """
    return _decode_notice(value)


class Receipts:
    """The records that a deliverer has in hand, and the words about those that are done.

    A record is done when the offsets pass it, or when it is a dead letter. A word may be said
    twice, and has an effect once.
    """

    def __init__(self) -> None:
        self._noted: dict[Partition, dict[int, Delivery]] = {}

    def note(self, record: SourceRecord) -> None:
        """A record is on its way; one that is none of ours is passed over."""
        try:
            delivery = delivery_of(headers_of(record))
        except ValueError:
            return
        self._noted.setdefault(partition_of(record), {})[offset_of(record)] = delivery

    def words(
        self, progress: Offsets, letters: Sequence[DeadLetter]
    ) -> list[tuple[int, str, w.OfDelivery]]:
        """What to say, in one transaction with these offsets and dead letters.

        Returns:
            (number of the partition, task, word) for each; refusals come first.
        """
        said: list[tuple[int, str, w.OfDelivery]] = []
        for letter in letters:
            delivery = self._of(letter.record)
            if delivery is not None:
                error = letter.failure.error
                why = f"{error.type}: {error.message}"[:_WHY]
                number = partition_of(letter.record).number
                said.append((number, delivery.task, delivery.refused(why)))
        for tp, noted in self._noted.items():
            at = progress.get(tp, -1)
            said += [
                (tp.number, delivery.task, delivery.done)
                for offset, delivery in noted.items()
                if offset < at and delivery.is_last
            ]
        return said

    def said(self, progress: Offsets) -> None:
        """The words are durable, together with these offsets."""
        for tp, at in progress.items():
            noted = self._noted.get(tp, {})
            for offset in [offset for offset in noted if offset < at]:
                del noted[offset]

    def _of(self, record: SourceRecord) -> Delivery | None:
        return self._noted.get(partition_of(record), {}).get(offset_of(record))


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Delivery).decode
_decode_notice: Final = msgspec.msgpack.Decoder(Notice).decode
