"""Records of the topic of logs: what attempts print, in pieces, under the tokens of the attempts.

The key is the token, the value a piece. All pieces of an attempt are in one partition, in order. A
piece of the stream `end` is behind the last of them, unless the attempt was lost with its host.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from kafka_etl.record import Headers
from kafka_etl.tasks.placing import partition_of

TOPIC: Final = "kafka-etl.logs"
"""The topic of all pipelines that name no other."""
PARTITIONS: Final = 16
"""Partitions of a topic that we create; one that is there may have any number."""

Stream = Literal["out", "err", "log", "stack", "gap", "end"]
"""Standard output and error, `Context.log`, stacks, a note of what was left out, and the end."""

_STREAMS: Final[frozenset[str]] = frozenset({"out", "err", "log", "stack", "gap", "end"})


class Piece(NamedTuple):
    """A piece of a log.

    Attributes:
        task: Id of the task.
        attempt: Number of the attempt in its generation, from 1.
        seq: Number of the piece in the attempt, from 0.
        stream: One of `Stream`.
        at_ms: When its first byte was read, in milliseconds since the epoch.
    """

    task: str
    attempt: int
    seq: int
    stream: str
    at_ms: int
    data: bytes


def partition_of_token(token: str, partitions: int) -> int:
    """The partition of an attempt's log."""
    return partition_of(token, partitions)


def headers_of_piece(piece: Piece) -> Headers:
    """The headers of a piece's record."""
    return [
        ("id", piece.task.encode()),
        ("attempt", str(piece.attempt).encode()),
        ("seq", str(piece.seq).encode()),
        ("stream", piece.stream.encode()),
        ("at", str(piece.at_ms).encode()),
    ]


def piece_of(headers: Headers, value: bytes | None) -> Piece | None:
    """The piece of a record; None: the record is of another writer, or of a later release."""
    found = {name: (content or b"").decode("utf-8", "replace") for name, content in headers}
    stream = found.get("stream", "")
    if stream not in _STREAMS:
        return None
    try:
        attempt, seq, at_ms = (int(found[name]) for name in ("attempt", "seq", "at"))
    except (KeyError, ValueError):
        return None
    return Piece(found.get("id", ""), attempt, seq, stream, at_ms, value or b"")
