"""What an owner notes beside an offset of the inbox, for those that do not own the partition."""

from __future__ import annotations

from typing import Final

import msgspec


class OpenNote(msgspec.Struct, frozen=True):
    """How many tasks of a partition are open.

    Attributes:
        n: Number of the commit.
        open: Number of open tasks before the commit.
        waiting: Number of tasks that wait for an attempt, after the commit.
        at: A place in the journal of the partition, before the records of the commit.
        most: Number of open tasks of all partitions from which on there is no room; 0: not told.
    """

    n: int
    open: int
    waiting: int = 0
    at: int = 0
    most: int = 0


def encode_note(note: OpenNote) -> str:
    """A note as text."""
    return _encode(note).decode()


def decode_note(text: str | None) -> OpenNote | None:
    """A note as it was encoded; None: there is none, or it is something else."""
    try:
        return _decode(text or "")
    except msgspec.MsgspecError:
        return None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(OpenNote).decode
