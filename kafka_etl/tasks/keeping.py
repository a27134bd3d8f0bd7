"""What owners and a keeper say to each other over the keeper's socket.

The keeper runs the attempts, and survives the owners. An owner gives grants and relays the keeper's
words to the inbox; the keeper keeps the last word of an attempt until Kafka has acknowledged it.

A message is a length of four bytes, big-endian, and that many bytes of MessagePack.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

import msgspec

from kafka_etl.record import Headers
from kafka_etl.tasks.log_records import Stream


class Instant(NamedTuple):
    """A moment on the clocks of this host: owners and keeper of a daemon share them.

    Attributes:
        boot: Seconds since the host's start, of sleep also.
        wall: Seconds since the epoch.
    """

    boot: float
    wall: float

    @classmethod
    def now(cls) -> Instant:
        return cls(time.clock_gettime(_BOOT_CLOCK), time.time())

    @property
    def number(self) -> int:
        """A number that grows with time on this host, whichever process counts."""
        return int(self.boot * 1e6)


_BOOT_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Message(msgspec.Struct, frozen=True, tag=True):
    """Base of all messages."""


class TaskRecord(_Message, frozen=True):
    """The record of the source that is the input of a task.

    Attributes:
        timestamp: In milliseconds since the epoch; -1: none.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


# From an owner


class Attach(_Message, frozen=True):
    """The first message of an owner: it relays for these partitions of the inbox from now on.

    Attributes:
        partitions: Number of a partition -> where the owner stands in its journal.
        number: No grant up to this number comes any more.
    """

    partitions: dict[int, int]
    number: int = 0


class Grant(_Message, frozen=True):
    """Run an attempt.

    Attributes:
        token: Id of the attempt.
        task: Id of the task.
        partition: Partition of the task's inbox, to which words about the attempt go.
        attempt: Number of the attempt in its generation, from 1.
        age: Age of the task's head with this grant; see `kafka_etl.tasks.head.Head`.
        position: Where the grant is in the journal of the partition, or a place before it.
        granted: When the owner began to commit the grant, or a moment before it.
        offer: Number of the keeper's offer that the grant answers; 0: the owner is on this host.
        number: Number of the grant; those of one owner grow.
    """

    token: str
    task: str
    partition: int
    generation: int
    attempt: int
    record: TaskRecord
    age: tuple[int, int]
    position: int
    granted: Instant
    offer: int = 0
    number: int = 0


class Offer(_Message, frozen=True):
    """Offer slots to the owner of a partition on another host, or go on to offer them.

    The keeper forgets an offer that nobody renews for a few seconds.

    Attributes:
        slots: Slots that the owner may fill, with those that its tasks have already; 0: none, the
            offer is over.
    """

    partition: int
    slots: int


class Halt(_Message, frozen=True):
    """End an attempt: SIGTERM to all that belongs to it, and SIGKILL after `stop_grace`.

    Attributes:
        force: Whether to send SIGKILL at once.
    """

    token: str
    force: bool = False


class Acknowledged(_Message, frozen=True):
    """Kafka has a word that the keeper waits for.

    Attributes:
        token: The attempt whose last word this is: the keeper may forget the attempt. Empty: the
            word is a list of tokens.
        partition: Partition that the list is about.
        number: Number of the list.
    """

    token: str = ""
    partition: int = 0
    number: int = 0


class Show(_Message, frozen=True):
    """Write the Python stacks of the attempt to its log, as the stream `stack`."""

    token: str


# From the keeper


class Held(_Message, frozen=True):
    """The task of a token.

    Attributes:
        age: Age of the head that granted the token; see `kafka_etl.tasks.head.Head`.
    """

    partition: int
    task: str
    age: tuple[int, int] = (0, 0)


class Holding(_Message, frozen=True):
    """The answer to `Attach`.

    Attributes:
        executor: Name of the executor.
        boot: Id of the keeper's start.
        slots: Number of attempts that run at the same time.
        tokens: Token -> its task, of all attempts that the keeper runs or has not forgotten.
        positions: Number of a partition -> a place in its journal behind which there is everything
            that owners elsewhere may have written about these tokens.
    """

    executor: str
    boot: str
    slots: int
    tokens: dict[str, Held]
    positions: dict[int, int]


class Said(_Message, frozen=True):
    """A word for the inbox, as the keeper has made it.

    Attributes:
        partition: Partition of the inbox.
        key: Key of the record: the task's id, or the executor's name.
        last: Token of the attempt whose last word this is; empty: it is not the last one.
        number: Number of a list of tokens; 0: it is something else.
    """

    partition: int
    key: str
    value: bytes | None
    headers: Headers
    last: str = ""
    number: int = 0


class Logged(_Message, frozen=True):
    """A piece of what an attempt has printed; see `kafka_etl.tasks.log_records`.

    Attributes:
        partition: Partition of the task's inbox, whose owner writes the piece.
        seq: Number of the piece in the attempt, from 0.
        at_ms: When its first byte was read, in milliseconds since the epoch.
    """

    token: str
    task: str
    partition: int
    attempt: int
    seq: int
    stream: Stream
    at_ms: int
    data: bytes


class Leaving(_Message, frozen=True):
    """The last message of a keeper that ends because its daemon stops."""


FromOwner = Attach | Grant | Offer | Halt | Acknowledged | Show
FromKeeper = Holding | Said | Logged | Leaving

_LENGTH: Final = 4
_encoder: Final = msgspec.msgpack.Encoder()
_decode_owner: Final = msgspec.msgpack.Decoder(FromOwner).decode
_decode_keeper: Final = msgspec.msgpack.Decoder(FromKeeper).decode


def pack(message: FromOwner | FromKeeper) -> bytes:
    """A message with its length."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


def unpack_from_owner(buffer: bytearray) -> list[FromOwner]:
    """Take the complete messages of an owner off the buffer.

    Raises:
        msgspec.MsgspecError: The buffer holds something else.
    """
    return [_decode_owner(body) for body in _bodies(buffer)]


def unpack_from_keeper(buffer: bytearray) -> list[FromKeeper]:
    """Likewise, of a keeper."""
    return [_decode_keeper(body) for body in _bodies(buffer)]


def _bodies(buffer: bytearray) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while len(buffer) >= at + _LENGTH:
        end = at + _LENGTH + int.from_bytes(buffer[at : at + _LENGTH], "big")
        if len(buffer) < end:
            break
        found.append(bytes(buffer[at + _LENGTH : end]))
        at = end
    del buffer[:at]
    return found
