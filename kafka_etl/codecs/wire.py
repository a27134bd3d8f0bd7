"""The registry's wire format: a zero byte, the id of the schema in four, and what it describes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, Generic, TypeVar

HEAD: Final = 5
"""Bytes before what the schema describes."""

_FORM: Final = struct.Struct(">bI")
_MAGIC: Final = 0

T = TypeVar("T")


class NotInWireFormat(ValueError):
    """Bytes that were not written with a schema registry."""


def head_of(schema_id: int) -> bytes:
    """What payloads of this schema begin with."""
    return _FORM.pack(_MAGIC, schema_id)


def schema_id_of(head: bytes) -> int:
    """The id in a payload's first bytes.

    Raises:
        NotInWireFormat: There is none.
    """
    if len(head) < HEAD:
        raise NotInWireFormat(
            f"too short for the schema registry's format: {len(head)} bytes, of at least {HEAD}"
        )
    magic, schema_id = _FORM.unpack_from(head)
    if magic != _MAGIC:
        raise NotInWireFormat(
            f"not in the schema registry's format: it begins with byte {head[0]} instead of 0"
        )
    return int(schema_id)


class ByHead(dict[bytes, T], Generic[T]):
    """What was made of each schema, by the head of its payloads: one look-up per record.

    Args:
        make: From the id of a schema.
    """

    def __init__(self, make: Callable[[int], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, head: bytes) -> T:
        made = self[head] = self._make(schema_id_of(head))
        return made
