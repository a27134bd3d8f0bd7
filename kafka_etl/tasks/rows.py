"""The rows of a result: what the operator has made, encoded for the destinations on the cluster."""

from __future__ import annotations

from typing import Final

import msgspec

from kafka_etl.record import Headers


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One record for a destination.

    Attributes:
        topic: Where the row goes; empty: to the destination's own topic.
        timestamp: In milliseconds since the epoch; 0: the time of its writing.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int = 0


def encode_rows(rows: list[Row]) -> bytes:
    """The value of a word `result`."""
    return _encode(rows)


def decode_rows(value: bytes) -> list[Row]:
    """The rows in the value of a word `result`.

    Raises:
        msgspec.MsgspecError: The value is something else.
    """
    return _decode(value)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Row]).decode
